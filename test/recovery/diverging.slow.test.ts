/**
 * A recording whose trace was written by somebody else: checksums, hash chain and numbers are all
 * right, but the guest never did that. `dejavm replay` says where it parts, and from what.
 */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { HOST_CODECS, type LineageId, type LogStore, openLogStore } from "@dejavm/log-store";
import { PAGE_BYTES } from "@dejavm/machine";
import { type Segment, TraceReader, type TraceRecord, TraceWriter } from "@dejavm/trace";
import { afterAll, beforeAll, expect, test } from "vitest";
import { dejavm } from "../support/dejavm.ts";
import { countingGuest } from "./counting-guest.ts";
import { RunProcess } from "./run-process.ts";

const NAME = "counting";
const TAMPERED = "tampered";

const directory = mkdtempSync(join(tmpdir(), "dejavm-diverging-"));
const storeDirectory = join(directory, "dejavm", "store");
/** Where the tampered trace has a key more. */
let typedAt: bigint | undefined;

beforeAll(async () => {
  const guest = join(directory, "guest");
  writeFileSync(guest, countingGuest());
  const run = new RunProcess({
    stateHome: directory,
    args: ["--firmware", guest, "--memory", "64M", "--pace", "live"],
  });
  while (!(await hasDigestBehindKey(run))) {
    run.type();
    await run.nextCount();
  }
  run.kill();
  await run.exited;
  const store = openLogStore(storeDirectory);
  tamper(store);
  store.close();
}, 120_000);
afterAll(() => rmSync(directory, { recursive: true }));

/** Whether the trace has a digest of a state that the first key has led to. */
async function hasDigestBehindKey(run: RunProcess): Promise<boolean> {
  if (run.isGone) throw new Error(`it ended: ${run.errors}`);
  if (run.typed === 0) return false;
  const store = openLogStore(storeDirectory, { mode: "read" });
  try {
    const { lineage, first } = recording(store);
    const records = segmentsFrom(store, lineage, first.trace).flatMap(({ records: each }) => each);
    const key = records.findIndex(isKey);
    return key !== -1 && records.slice(key).some(({ kind }) => kind === "digest");
  } finally {
    store.close();
  }
}

function recording(store: LogStore) {
  const lineage = store.findLineage(NAME);
  const [first] = lineage === undefined ? [] : store.checkpoints(lineage.id);
  if (lineage === undefined || first === undefined) throw new Error("it was recorded");
  return { lineage: lineage.id, info: lineage, first };
}

function segmentsFrom(
  store: LogStore,
  lineage: LineageId,
  at: ConstructorParameters<typeof TraceReader>[0]["at"],
) {
  const reader = new TraceReader({ codecs: HOST_CODECS, at });
  return [...store.readTrace(lineage, at.sequence)].flatMap(({ bytes }) => reader.read(bytes));
}

function isKey(record: TraceRecord): boolean {
  return record.kind === "input" && record.event.kind === "console";
}

/** A copy of the recording in which somebody typed once more, beside the first key. */
function tamper(store: LogStore): void {
  const { lineage, info, first } = recording(store);
  const { config, fingerprint } = info;
  const writer = store.openLineage(store.createLineage({ name: TAMPERED, config, fingerprint }).id);
  const { position, ticks, trace } = first;
  const segments: Segment[] = [];
  const out = new TraceWriter({ hasher: HOST_CODECS, at: trace });
  for (const { records } of segmentsFrom(store, lineage, trace)) {
    for (const record of records) {
      out.append(record);
      if (typedAt !== undefined || !isKey(record)) continue;
      out.append(record);
      typedAt = record.position;
    }
    segments.push(...[out.seal()].filter((segment) => segment !== undefined));
  }
  const reader = store.openCheckpoint(first.id);
  const memoryPages = (64 * 2 ** 20) / PAGE_BYTES;
  const { state, pages } = reader;
  const copy = writer.beginCheckpoint({ position, ticks, trace, memoryPages, state });
  copy.putPages(pages, reader.readPages(pages));
  writer.append(segments);
  copy.commit();
  writer.release();
}

const replay = (...args: readonly string[]) =>
  dejavm(["replay", ...args], "", { XDG_STATE_HOME: directory });

test("[SR3] the recording itself is replayed, and its copy is found to be whole", async () => {
  expect(await replay(NAME)).toMatchObject({ status: 0 });
  const verify = await dejavm(["log", "verify"], "", { XDG_STATE_HOME: directory });
  expect(verify).toMatchObject({ status: 0 });
});

test("[SR3] a replay that departs says since when, the records around, what it tried", async () => {
  const { status, stdout, stderr } = await replay(TAMPERED);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(stderr).toMatch(
    /\nthe replay departs from the trace at \d+: digest \w{32}, want \w{32}\n/,
  );
  expect(stderr).toMatch(/\n {2}(equal at \d+|no digest was equal before)\n/);
  expect(stderr).toMatch(/\n {4}\d+ [^]*\n {2}> \d+ digest \w{32}\n/);
  expect(stderr).toMatch(/\ndejavm: E_REPLAY_DIVERGED the replay departs .*\n {2}hint: .*verify/);
  expect(stderr).toContain("the interpreter comes to the same state");
});

test("[SR3] beside another recording it says the step and what differs after it", async () => {
  const { status, stderr } = await replay(TAMPERED, "--against", NAME);
  expect(status).toBe(1);
  expect(stderr).toContain(`compared with the recording of ${NAME}:`);
  const step = /\n {2}they come apart in the step from (\d+) to (\d+):\n/;
  expect(stderr).toMatch(step);
  const [low, high] = (step.exec(stderr) ?? []).slice(1).map(BigInt);
  if (typedAt === undefined) throw new Error("somebody typed");
  // The key is there before the step or after it: inputs happen between two.
  expect([typedAt - 1n, typedAt]).toContain(low);
  expect([typedAt, typedAt + 1n]).toContain(high);
  expect(stderr).toMatch(/\n {4}\S*uart\S*: .*, want /);
});
