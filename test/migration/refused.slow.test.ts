/**
 * What cannot move, or must not: both sides end with a coded error that names phase, cause and next
 * action, nothing stays at the target, and the machine goes on where it was.
 */
import { CodedError } from "@dejavm/base";
import { type LineageId, type LineageWriter, MemoryLogStore } from "@dejavm/log-store";
import { decodeFrame, encodeFrame, type Frame, type Message } from "@dejavm/protocol";
import type { TargetOutcome } from "@dejavm/target-agent";
import { afterAll, beforeAll, expect, test } from "vitest";
import { echoing, OFFER, TINY } from "./support/echo.ts";
import { type LiveMachine, migrate, Target, type TargetHostOptions } from "./support/hosts.ts";
import { Path } from "./support/sockets.ts";

let source: LiveMachine;
/** Each migration is of a later epoch, as after one that was taken back. */
let epoch = 1;

beforeAll(async () => {
  source = await echoing();
});
afterAll(() => source?.vm.terminate());

interface Trouble {
  readonly target?: Omit<TargetHostOptions, "config">;
  readonly tamper?: Path["tamper"];
  readonly negotiateMs?: number;
}

/** How both sides end. */
async function ending({ target: options = {}, tamper, negotiateMs = 20_000 }: Trouble) {
  const target = new Target({ config: TINY, ...options });
  const path = new Path(2);
  path.tamper = tamper;
  const offer = { ...OFFER, epoch };
  epoch += 10;
  const migration = migrate({ machine: source, target, offer, path, session: { negotiateMs } });
  const { outcome } = await migration.done;
  const there: TargetOutcome[] = [];
  for (const { done } of target.acceptor.migrations) there.push(await done);
  expect(target.store.lineages().filter(({ ownership }) => ownership?.state === "live")).toEqual(
    [],
  );
  return { outcome, there: there[0], store: target.store };
}

/** Its memory and its place are what they were: it counts on. */
async function goesOn(): Promise<void> {
  const before = source.said;
  source.type("on ");
  await expect.poll(() => source.said, { timeout: 20_000 }).toBe(`${before}on `);
}

/** Changes what one side sends: from its first message on, or behind one of that kind. */
function from(
  side: "dialer" | "listener",
  behind: Message["kind"] | undefined,
  alter: (bytes: Uint8Array) => Uint8Array,
): Path["tamper"] {
  let begun = behind === undefined;
  return (who, bytes) => {
    if (who !== side) return bytes;
    if (begun) return alter(bytes);
    const frame = decodeFrame(bytes);
    begun = frame.kind === "message" && frame.message.kind === behind;
    return bytes;
  };
}

const change =
  (alter: (frame: Frame) => Frame) =>
  (bytes: Uint8Array): Uint8Array =>
    encodeFrame(alter(decodeFrame(bytes)));
const otherVersion = change((frame) =>
  frame.kind === "hello" ? { ...frame, versions: { oldest: 8, newest: 9 } } : frame,
);
const otherDigest = change((frame) => {
  if (frame.kind !== "message" || frame.message.kind !== "commit") return frame;
  return { ...frame, message: { ...frame.message, digest: "f".repeat(32) } };
});
const garbage = (): Uint8Array => Uint8Array.of(0x77, 1, 2, 3);

/** A store on a disk that is full from some segment on. */
class FullStore extends MemoryLogStore {
  override openLineage(lineage: LineageId): LineageWriter {
    const writer = super.openLineage(lineage);
    writer.append = () => {
      throw new CodedError("E_DISK_FULL", "cannot append: the disk is full", {
        hint: "make room there",
      });
    };
    return writer;
  }
}

const NO_MEMORY = { code: "E_NO_MEMORY", message: "64 MiB are free, want 160", hint: "elsewhere" };

test.for<readonly [string, () => Trouble, string | RegExp, string | RegExp]>([
  [
    "a host without memory",
    () => ({ target: { beforeJudging: async () => NO_MEMORY } }),
    "negotiate E_NO_MEMORY",
    "negotiate E_NO_MEMORY",
  ],
  [
    "a host without disk space",
    () => ({ target: { store: new FullStore() } }),
    /^(checkpoint|chase) E_DISK_FULL$/u,
    "receive E_DISK_FULL",
  ],
  [
    "a source of another version",
    () => ({ tamper: from("dialer", undefined, otherVersion) }),
    "negotiate E_PROTOCOL_VERSION",
    "negotiate E_PROTOCOL_VERSION",
  ],
  [
    "a target of another version",
    () => ({ tamper: from("listener", undefined, otherVersion) }),
    "negotiate E_PROTOCOL_VERSION",
    // The offer comes right behind the greeting.
    /^(negotiate|receive) E_PROTOCOL_VERSION$/u,
  ],
  [
    "a target that sends garbage",
    () => ({ tamper: from("listener", "accept", garbage) }),
    "checkpoint E_PROTOCOL_MALFORMED",
    "receive E_PROTOCOL_STATE",
  ],
  [
    "a source that sends garbage",
    () => ({ tamper: from("dialer", "checkpoint", garbage) }),
    "checkpoint E_PROTOCOL_STATE",
    "receive E_PROTOCOL_MALFORMED",
  ],
  [
    "a target that stalls",
    () => ({ target: { beforeJudging: () => new Promise(() => undefined) }, negotiateMs: 300 }),
    "negotiate E_PEER_SILENT",
    "negotiate E_PEER_SILENT",
  ],
  [
    "a source that lies about the digest at F",
    () => ({ tamper: from("dialer", undefined, otherDigest) }),
    "in-doubt E_DIVERGED",
    "cutover E_DIVERGED",
  ],
])("[MI9] %s", async ([, trouble, here, there]) => {
  const end = await ending(trouble());
  const { outcome } = end;
  if (outcome.kind !== "stayed") throw new Error(`it ${outcome.kind}`);
  expect(`${outcome.phase} ${outcome.code}`).toMatch(here);
  expect([outcome.message, outcome.hint]).toEqual([expect.any(String), expect.any(String)]);
  if (end.there?.kind !== "gone") throw new Error(`there it was ${end.there?.kind}`);
  const { phase, reason } = end.there;
  expect(`${phase} ${reason.code}`).toMatch(there);
  expect([reason.message, reason.hint]).toEqual([expect.any(String), expect.any(String)]);
  expect(end.store.lineages()).toEqual([]);
  await goesOn();
});

test("[MI9] after all of that it moves", async () => {
  const target = new Target({ config: TINY });
  const migration = migrate({ machine: source, target, offer: { ...OFFER, epoch } });
  expect((await migration.done).outcome.kind).toBe("moved");
  const { machine } = await target.taken.promise;
  await machine.terminate();
});
