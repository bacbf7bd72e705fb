/**
 * A recorded Debian session is replayed to equal states elsewhere. DEJAVM_SESSION_SECONDS makes it
 * longer: 600 is the ten minutes that count.
 */
import { Readable } from "node:stream";
import { fileURLToPath } from "node:url";
import { hostTool, runProcess } from "@dejavm/debian";
import { HOST_CODECS } from "@dejavm/log-store";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { runInChromium } from "./browser.ts";
import { findGuest, type Guest } from "./default-guest.ts";
import { recordSession, replaySession, type Session, type SessionWay } from "./session.ts";
import { toMessage } from "./session-message.ts";
import { sha256 } from "./sha256.ts";

const PROCESS = fileURLToPath(new URL("session-process.ts", import.meta.url));
const SECONDS = Number(process.env.DEJAVM_SESSION_SECONDS ?? 60);

let guest: Guest | string = "not built";
let session: Session | undefined;

beforeAll(async () => {
  guest = await findGuest();
  if (typeof guest !== "string") session = recordSession(guest.files, SECONDS, HOST_CODECS);
});
beforeEach((context) => {
  if (typeof guest === "string") context.skip(`no Debian image: ${guest}`);
});

function recorded(): { readonly guest: Guest; readonly session: Session } {
  if (typeof guest === "string" || session === undefined) throw new Error("there is no image");
  return { guest, session };
}

test("the hash of the browser's worker is sha256", () => {
  for (const length of [0, 3, 55, 56, 63, 64, 1000]) {
    const bytes = new Uint8Array(length).map((_, i) => i * 7);
    expect(Buffer.from(sha256(bytes))).toEqual(Buffer.from(HOST_CODECS.sha256(bytes)));
  }
});

describe(`a recorded session of ${SECONDS} guest seconds has equal digests`, () => {
  test("[DE8] and something happens in it", () => {
    const { end, segments } = recorded().session;
    expect(end.digests).toBeGreaterThan(SECONDS / 15);
    expect(end.consoleBytes).toBeGreaterThan(SECONDS * 5);
    expect(segments.length).toBeGreaterThan(SECONDS / 10);
  });

  test("[DE8] on the interpreter", () => {
    const { guest, session } = recorded();
    const way: SessionWay = { engine: "interpreter", slice: 700_000 };
    expect(replaySession(guest.files, session, way, HOST_CODECS)).toEqual(session.end);
  });

  test("[DE8] in another process, translated", async () => {
    const { guest, session } = recorded();
    const message = toMessage(session, { engine: "default", slice: 2_000_000 });
    const input = Readable.from([JSON.stringify({ paths: guest.paths, message })]);
    const args = [...process.execArgv, PROCESS];
    const { exitCode, stdout, stderr } = await runProcess(process.execPath, args, { input });
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toEqual(session.end);
  });

  test.for(["default", "interpreter"] as const)(
    "[DE8] in Chromium, engine %s",
    async (engine, { skip }) => {
      const chromium = await hostTool("chromium");
      if (chromium.kind === "skipped") return skip(chromium.reason);
      const { guest, session } = recorded();
      const message = toMessage(session, { engine, slice: 1_000_000 });
      const task = { worker: "session-worker.ts", message };
      expect(await runInChromium(chromium.command, guest.files, task)).toEqual(session.end);
    },
  );
});
