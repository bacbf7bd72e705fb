/**
 * A guest under load from its network is recorded. The replay has no cable: what came is in the
 * trace, what the guest sends is hashed and dropped, and every digest is equal.
 */
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { createConnection } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { CodedError, Prng } from "@dejavm/base";
import { runProcess } from "@dejavm/debian";
import { buildImage, imageSpec } from "@dejavm/image";
import { afterAll, beforeAll, expect, test } from "vitest";
import { freePort } from "../support/free-port.ts";
import { GuestShell } from "../support/guest-shell.ts";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const SEED = 0x5eed_0005;
const CLIENTS = 12;
/** Each is sent to redis and fetched again. */
const VALUES_PER_CLIENT = 12;
const MAX_VALUE_BYTES = 20_000;

let directory = "";
let skip: string | undefined;

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-network-"));
  try {
    await buildImage(imageSpec());
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    skip = `no Debian image: ${error.code} ${error.message}`;
  }
});
afterAll(() => rmSync(directory, { recursive: true }));

async function dejavm(...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runProcess(
    process.execPath,
    ["--conditions=source", MAIN, ...args],
    { env: { NODE_NO_WARNINGS: "1", XDG_STATE_HOME: directory } },
  );
  expect([exitCode, exitCode === 0 ? "" : stderr]).toEqual([0, ""]);
  return stdout;
}

/** Kinds of what was recorded, in order. */
async function recordedKinds(): Promise<string[]> {
  const lines = (await dejavm("log", "events", "loaded")).trim().split("\n");
  return lines.map((line) => {
    const event: unknown = JSON.parse(line);
    if (typeof event === "object" && event !== null && "kind" in event) return String(event.kind);
    throw new Error(`it has no kind: ${line}`);
  });
}

/** How many frames came before the last digest. */
function framesBeforeDigest(kinds: readonly string[]): number {
  return kinds.slice(0, kinds.lastIndexOf("digest") + 1).filter((kind) => kind === "frame").length;
}

/** Throws for a replay that did not come to the end of its trace. */
function digestsCompared(report: unknown): unknown {
  expect(report).toMatchObject({ reached: "end" });
  return (report as { digestsCompared: unknown }).digestsCompared;
}

/** Stores values in redis, and compares what comes back. */
async function storeAndFetch(port: number, client: number): Promise<void> {
  const random = new Prng(SEED + client);
  const socket = createConnection({ port, host: "127.0.0.1" });
  for (let i = 0; i < VALUES_PER_CLIENT; i++) {
    const value = Buffer.from(random.fill(new Uint8Array(1 + random.below(MAX_VALUE_BYTES))));
    const key = `${client}/${i}`;
    const length = `$${value.length}\r\n`;
    socket.write(`*3\r\n$3\r\nSET\r\n$${key.length}\r\n${key}\r\n${length}`);
    socket.write(value);
    socket.write(`\r\nGET ${key}\r\n`);
    const want = Buffer.concat([Buffer.from(`+OK\r\n${length}`), value, Buffer.from("\r\n")]);
    let got = Buffer.alloc(0);
    while (got.length < want.length) {
      got = Buffer.concat([got, (await once(socket, "data"))[0] as Buffer]);
    }
    expect(Buffer.compare(got, want)).toBe(0);
  }
  socket.destroy();
}

test(`[NE8] a guest under network load replays without a cable, seed ${SEED}`, async (context) => {
  if (skip !== undefined) return context.skip(skip);
  const port = await freePort();
  const args = ["--name", "loaded", "--memory", "128M", "-p", `${port}:6379`];
  const guest = await GuestShell.start(args, { XDG_STATE_HOME: directory });
  try {
    await guest.run(
      "redis-server --protected-mode no --save '' --daemonize yes >/dev/null\n" +
        "until redis-cli ping >/dev/null 2>&1; do sleep 0.1; done",
    );
    const clients = Array.from({ length: CLIENTS }, (_, client) => storeAndFetch(port, client));
    await Promise.all(clients);
    const found = await guest.run("redis-cli dbsize");
    expect(found.trim()).toBe(String(CLIENTS * VALUES_PER_CLIENT));
    // Digests are as far apart as they are dear: the next one shows whether the load was recorded.
    const frames = async (): Promise<number> => framesBeforeDigest(await recordedKinds());
    await expect
      .poll(frames, { timeout: 90_000, interval: 2000 })
      .toBeGreaterThan(CLIENTS * VALUES_PER_CLIENT);
    await guest.end();
  } finally {
    await guest.stop();
  }
  const report: unknown = JSON.parse(await dejavm("replay", "loaded", "--verify", "--json"));
  expect(digestsCompared(report)).toBeGreaterThan(0);
});
