/** A machine in its worker is recorded, read while it runs, replayed in another, and goes live. */
import { bareMachine } from "@dejavm/machine";
import type { TracePoint } from "@dejavm/trace";
import { expect, onTestFinished, test } from "vitest";
import type { VmReport } from "../reports.ts";
import { MAX_PAGES_PER_READ, type VmRequest } from "../requests.ts";
import type { StartSpec } from "./machine-maker.ts";
import { VirtualMachine } from "./virtual-machine.ts";

/** Echoes the UART and counts in memory: waits for LSR.DR, reads RBR, writes THR. */
const ECHO_COUNTING = [
  0x0000_0417, // auipc s0, 0
  0x0000_1337, // lui   t1, 1
  0x0064_0433, // add   s0, s0, t1: a page of its own
  0x1000_02b7, // lui   t0, 0x10000
  0x0052_c303, // lbu   t1, 5(t0)
  0x0014_8493, // addi  s1, s1, 1
  0x0094_3023, // sd    s1, 0(s0)
  0x0013_7313, // andi  t1, t1, 1
  0xfe03_08e3, // beqz  t1, -16
  0x0002_c303, // lbu   t1, 0(t0)
  0x0062_8023, // sb    t1, 0(t0)
  0xfe5f_f06f, // j     -28
];
const CONFIG = bareMachine(ECHO_COUNTING);
const START: TracePoint = { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) };
const SPEC = { disks: [], pace: "live", limit: undefined, digestAtEnd: false } as const;

type Kind = VmReport["kind"];
type Of<K extends Kind> = Extract<VmReport, { kind: K }>;

/** A machine, and all that it reported. */
class Probe {
  readonly reports: VmReport[] = [];
  readonly #waiting: (() => void)[] = [];
  #vm: VirtualMachine | undefined;

  static async start(spec: StartSpec): Promise<Probe> {
    const probe = new Probe();
    const vm = await VirtualMachine.start(spec, {
      onConsole: () => undefined,
      onReport: (report) => probe.#hear(report),
      onOutputs: (report, release) => {
        probe.#hear(report);
        release();
      },
    });
    probe.#vm = vm;
    onTestFinished(() => vm.terminate());
    return probe;
  }

  tell(...requests: VmRequest[]): void {
    for (const request of requests) this.#vm?.request(request);
  }

  type(text: string): void {
    this.tell({ kind: "console", port: "uart", bytes: Buffer.from(text) });
  }

  all<K extends Kind>(kind: K): Of<K>[] {
    return this.reports.filter((report): report is Of<K> => report.kind === kind);
  }

  /** The report at `index` of its kind, once it is there. */
  async next<K extends Kind>(kind: K, index = 0): Promise<Of<K>> {
    for (;;) {
      const found = this.all(kind)[index];
      if (found !== undefined) return found;
      const failed = this.all("failed")[0];
      if (failed !== undefined) throw new Error(failed.error.message);
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
    }
  }

  get said(): string {
    const outputs = this.all("outputs").flatMap((report) => report.outputs);
    return outputs.map(({ bytes }) => Buffer.from(bytes).toString()).join("");
  }

  #hear(report: VmReport): void {
    this.reports.push(report);
    for (const resolve of this.#waiting.splice(0)) resolve();
  }
}

/** Begins a checkpoint and reads it while the machine runs; gives requests that supply it. */
async function readCheckpoint(source: Probe, id: number, since?: number) {
  const index = source.all("checkpoint-begun").length;
  const touched = source.all("touched").length;
  source.tell({
    kind: "checkpoint",
    id,
    since,
    maxSavedPages: 1000,
    whenFull: "give-up",
    recordFirstTouch: true,
  });
  const begun = await source.next("checkpoint-begun", index);
  const supply: Extract<VmRequest, { kind: "supply-pages" }>[] = [];
  const zero: number[] = [];
  for (let at = 0; at < begun.pages.length; at += MAX_PAGES_PER_READ) {
    const reads = source.all("pages").length;
    const pages = begun.pages.slice(at, at + MAX_PAGES_PER_READ);
    source.tell({ kind: "read-pages", id, pages });
    const read = await source.next("pages", reads);
    supply.push({ kind: "supply-pages", pages: read.pages, bytes: read.bytes });
    zero.push(...read.zeroPages);
  }
  // The guest goes on, but in the last of them: it is frozen then.
  if (since !== undefined || index === 0) await source.next("touched", touched);
  source.tell({ kind: "close-checkpoint", id });
  return { begun, supply, zero };
}

type Begun = Awaited<ReturnType<typeof readCheckpoint>>["begun"];

function replay(begun: Begun): Promise<Probe> {
  const { boot: _, ...config } = CONFIG;
  const { id, state, trace = START } = begun;
  return Probe.start({ ...SPEC, source: { kind: "checkpoint", id, config, state, trace } });
}

const segmentsFrom = (source: Probe, sequence: number) =>
  source
    .all("segment")
    .filter(({ header }) => header.sequence >= sequence)
    .map(({ bytes }) => bytes.slice());

test("[VM1] a recorded machine is replayed to the same state and goes live", async () => {
  const source = await Probe.start({
    ...SPEC,
    source: { kind: "create", config: CONFIG },
    record: START,
  });
  source.type("one");
  await expect.poll(() => source.said, { timeout: 60_000 }).toBe("one");
  const { begun, supply } = await readCheckpoint(source, 7);
  source.type(" two");
  await expect.poll(() => source.said, { timeout: 60_000 }).toBe("one two");
  expect(source.all("touched")[0]?.pages.length).toBeGreaterThan(0);
  const { begun: later, supply: changed } = await readCheckpoint(source, 8, 7);
  expect(later.since).toBe(7);
  expect([...later.pages]).toEqual([1]);
  source.type(" three");
  await expect.poll(() => source.said, { timeout: 60_000 }).toBe("one two three");
  source.tell({ kind: "freeze", id: 3 });
  const frozen = await source.next("frozen");
  source.type("!");
  expect((await source.next("late-input")).event).toMatchObject({ kind: "console" });

  const target = await replay(begun);
  const all = segmentsFrom(source, begun.trace?.sequence ?? 0);
  target.tell({ kind: "feed", segments: all });
  expect((await target.next("missing")).pages).toEqual([0]);
  target.tell(...supply, { kind: "supply-rest-zero" });
  const { position, ticks, digest } = frozen;
  // It stands where the trace ends before anything was fed, and again there.
  const end = await target.next("at-frontier", 1);
  expect(end).toMatchObject({ position, ticks });
  target.tell({ kind: "replay-to", id: 4, position, ticks, digest });
  expect(await target.next("reached")).toMatchObject({ digest, position });
  expect(target.all("outputs")).toEqual([]);

  const leaper = await replay(begun);
  leaper.tell({
    kind: "jump",
    id: 8,
    position: later.position,
    ticks: later.ticks,
    state: later.state,
    trace: later.trace ?? START,
    pages: changed,
    zeroPages: new Uint32Array(0),
    chunks: [],
  });
  expect(await leaper.next("jumped")).toMatchObject({ applied: true, position: later.position });
  leaper.tell(...(await readAgain(source, begun, supply)), { kind: "supply-rest-zero" });
  leaper.tell({ kind: "feed", segments: segmentsFrom(source, later.trace?.sequence ?? 0) });
  leaper.tell({ kind: "replay-to", id: 5, position, ticks, digest });
  expect(await leaper.next("reached")).toMatchObject({ digest, position });

  const record = end.trace;
  target.tell({
    kind: "go-live",
    id: 5,
    behindTicks: 0,
    entropySeed: undefined,
    record,
    frozen: false,
  });
  expect(await target.next("live")).toMatchObject({ position, ticks });
  target.type("?");
  await expect.poll(() => target.said, { timeout: 60_000 }).toBe("?");
  expect(target.all("segment")[0]?.header.sequence).toBe(record.sequence);
  source.tell({ kind: "unfreeze", id: 6 });
  await expect.poll(() => source.said, { timeout: 60_000 }).toBe("one two three!");
});

/** The first supply's buffers were given away; the pages that did not change are read once more. */
async function readAgain(source: Probe, begun: Begun, supply: readonly VmRequest[]) {
  const { supply: fresh } = await readCheckpoint(source, 9);
  expect(fresh.length).toBe(supply.length);
  expect(begun.pages.length).toBeGreaterThan(0);
  return fresh;
}
