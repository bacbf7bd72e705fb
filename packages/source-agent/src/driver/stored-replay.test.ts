/** What a store has of a machine is done again, and becomes other machines. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  exportLineage,
  HOST_CODECS,
  importLineage,
  type LogStore,
  MemoryLogStore,
  MemoryStorage,
} from "@dejavm/log-store";
import { divergenceText, partingText, type Segment, TraceReader, TraceWriter } from "@dejavm/trace";
import { afterAll, beforeAll, expect, onTestFinished, test, vi } from "vitest";
import { echoConfig } from "../test-support/counting-echo.ts";
import { forkVm } from "./fork.ts";
import { createNamedVm, resumeNamedVm } from "./named-vm.ts";
import { findReplayParting } from "./replay-parting.ts";
import { type ReplayGoal, StoredReplay, type StoredReplayOptions } from "./stored-replay.ts";

const store: LogStore = new MemoryLogStore();
const directory = mkdtempSync(join(tmpdir(), "dejavm-replay-"));
/** What the guest had said, where, and in which state, each time that somebody looked. */
const seen: { said: string; position: bigint; ticks: bigint; digest: string }[] = [];

beforeAll(async () => {
  let said = "";
  const { vm, recorded } = await createNamedVm(
    {
      store,
      name: "web",
      spec: { limit: undefined, digestAtEnd: false },
      events: { onConsole: (_port, bytes) => void (said += Buffer.from(bytes).toString()) },
      onNotice: () => undefined,
    },
    echoConfig(directory),
    { entropySeed: new Uint8Array(32), wallTimeNs: 0n },
  );
  for (const [typed, answer] of [
    ["ab", "a1b2"],
    ["c", "a1b2c3"],
    ["d", "a1b2c3d4"],
  ] as const) {
    vm.sendConsole("uart", Buffer.from(typed));
    await vi.waitFor(() => expect(said).toBe(answer), 60_000);
    seen.push({ said, ...(await vm.digest()) });
  }
  await vi.waitFor(() => expect(checkpointsOf("web")).toBeGreaterThan(0), 60_000);
  await vm.stop();
  recorded.close();
}, 120_000);
afterAll(() => rmSync(directory, { recursive: true }));

const checkpointsOf = (name: string): number => store.checkpoints(lineage(name).id).length;

function lineage(name: string) {
  const found = store.findLineage(name);
  if (found === undefined) throw new Error(`there is no ${name}`);
  return found;
}

async function open(
  goal: ReplayGoal,
  more: Partial<StoredReplayOptions> = {},
): Promise<StoredReplay> {
  const options = { store, lineage: lineage("web"), goal, whole: true, ...more };
  const replay = await StoredReplay.open(options);
  onTestFinished(() => replay.close());
  return replay;
}

function finish<Result>(steps: Generator<unknown, Result>): Result {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

test("[SR1] the whole recording is replayed to equal digests and outputs", async () => {
  for (const engine of ["auto", "interpreter", "jit"] as const) {
    let said = "";
    const replay = await open(
      { kind: "end" },
      {
        engine,
        onOutput: ({ output }) => void (said += Buffer.from(output.bytes).toString()),
      },
    );
    const result = finish(replay.run());
    expect(result).toMatchObject({ reached: "end", divergence: undefined });
    expect(result.digests).toBeGreaterThanOrEqual(seen.length);
    expect(said).toBe("a1b2c3d4");
  }
});

test("[SR1] a replay to a position or a time ends there, from any checkpoint", async () => {
  for (const { position, ticks, digest } of seen) {
    for (const whole of [true, false]) {
      const replay = await open({ kind: "position", position }, { whole });
      expect(finish(replay.run()).reached).toBe("goal");
      expect(replay.machine.position).toBe(position);
      expect(replay.machine.digest()).toBe(digest);
    }
    const timed = await open({ kind: "ticks", ticks });
    expect(finish(timed.run()).reached).toBe("goal");
    // Steps near the goal take a few milliseconds of the guest's time.
    expect(Number(timed.machine.ticks - ticks) / 10_000).toBeLessThan(20);
    expect(timed.machine.ticks).toBeGreaterThanOrEqual(ticks);
  }
});

test("[SR3] where a replay goes another way, the step is found and what differs", async () => {
  const storage = new MemoryStorage();
  const copies = new MemoryLogStore({ storage });
  const pieces: Uint8Array[] = [];
  finish(exportLineage(store, "web", (piece) => pieces.push(piece.slice())));
  const file = Buffer.concat(pieces);
  let at = 0;
  finish(importLineage(copies, (count) => file.subarray(at, (at += count)), "copy"));
  const copy = storage.lineages.get(lineage("web").id);
  if (copy === undefined) throw new Error("it was imported");
  const { segments, typedAt } = withOtherKey(copy.segments);
  copy.segments.splice(0, copy.segments.length, ...segments);
  const broken = await open({ kind: "end" }, { store: copies, lineage: copy.info });
  const { divergence, from } = finish(broken.run());
  if (divergence === undefined) throw new Error("it is broken");
  expect(divergenceText(divergence)).toMatch(/digest .*\n {2}(equal at|no digest)/);
  const whole = await open({ kind: "position", position: from.position }, { whole: false });
  const parting = finish(
    findReplayParting({
      replay: broken,
      divergence,
      from: from.position,
      expected: () => whole.again(),
    }),
  );
  if (parting === undefined) throw new Error("they differ");
  // A replay that stops where the key is typed has taken it, unless a digest is due there as well.
  expect(parting.high - parting.low).toBe(1n);
  expect([parting.low, parting.high]).toContain(typedAt);
  expect(partingText(parting)).toMatch(/uart.*want/);
  const engines = { replay: broken, divergence, from: from.position };
  const other = findReplayParting({ ...engines, expected: () => broken.again("interpreter") });
  expect(finish(other)).toBeUndefined();
});

/** The trace with one key changed, as if it had been recorded so. */
function withOtherKey(segments: readonly Segment[]): { segments: Segment[]; typedAt: bigint } {
  const [first] = store.checkpoints(lineage("web").id);
  if (first === undefined) throw new Error("there is a checkpoint");
  const reader = new TraceReader({ codecs: HOST_CODECS, at: first.trace });
  const writer = new TraceWriter({ hasher: HOST_CODECS, at: first.trace });
  let typedAt: bigint | undefined;
  const rest = segments.filter(({ header }) => header.sequence >= first.trace.sequence);
  const changed = rest.flatMap(({ bytes }) =>
    reader.read(bytes).flatMap(({ records }) => {
      for (const record of records) {
        const typed = record.kind === "input" && record.event.kind === "console";
        if (!typed || typedAt !== undefined) writer.append(record);
        else {
          typedAt = record.position;
          writer.append({
            ...record,
            event: { kind: "console", port: "uart", bytes: Uint8Array.of(122) },
          });
        }
      }
      return writer.seal() ?? [];
    }),
  );
  if (typedAt === undefined) throw new Error("somebody typed");
  return { segments: changed, typedAt };
}

test("[SR2] a fork goes on from its moment, and the recording stays as it was", async () => {
  const [, middle] = seen;
  if (middle === undefined) throw new Error("somebody looked");
  const before = store.traceEnd(lineage("web").id);
  const replay = await open({ kind: "position", position: middle.position });
  finish(replay.run());
  const entropySeed = new Uint8Array(32).fill(9);
  const nowNs = BigInt(Date.now()) * 1_000_000n;
  const from = lineage("web");
  const made = finish(forkVm({ store, replay, from, name: "fork", entropySeed, nowNs }));
  expect(made.forkedFrom).toEqual({ lineage: from.id, position: middle.position });
  let said = "";
  const { vm, recorded } = await resumeNamedVm({
    store,
    name: "fork",
    spec: { limit: undefined, digestAtEnd: false },
    events: { onConsole: (_port, bytes) => void (said += Buffer.from(bytes).toString()) },
    onNotice: () => undefined,
  });
  onTestFinished(() => vm.terminate());
  vm.sendConsole("uart", Buffer.from("x"));
  // The original had counted three by then.
  await vi.waitFor(() => expect(said).toBe("x4"), 60_000);
  await vm.stop();
  recorded.close();
  expect(store.traceEnd(lineage("web").id)).toEqual(before);
  const again = await open({ kind: "end" }, { lineage: lineage("fork") });
  expect(finish(again.run()).reached).toBe("end");
});

test("[SR2] a fork that is broken off leaves nothing", async () => {
  const replay = await open({ kind: "position", position: seen[0]?.position ?? 0n });
  finish(replay.run());
  const entropySeed = new Uint8Array(32);
  const from = lineage("web");
  const steps = forkVm({ store, replay, from, name: "half", entropySeed, nowNs: 0n });
  expect(steps.next().done).toBe(false);
  expect(store.findLineage("half")).toBeDefined();
  steps.return(undefined as never);
  expect(store.findLineage("half")).toBeUndefined();
});

test("[TR6] a machine whose files are others is refused by the name of what differs", async () => {
  const firmware = join(directory, "firmware");
  writeFileSync(firmware, Uint8Array.of(1, 2, 3, 4));
  onTestFinished(() => void echoConfig(directory));
  await expect(open({ kind: "end" })).rejects.toThrow(/machine with boot\.firmware /);
});
