import { encodeState, PAGE_BYTES, position, ticks } from "@dejavm/machine";
import { type TracePoint, TraceWriter } from "@dejavm/trace";
import { expect, test } from "vitest";
import { hostCodecs } from "./driver/host-codecs.ts";
import { ReplayLoop } from "./replay-loop.ts";
import type { VmReport } from "./reports.ts";
import { FakeMachine, FakeStore } from "./test-support/fake-machine.ts";

const START: TracePoint = { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) };

/** What a source recorded: typed bytes at positions 100, 200, ..., a frontier behind each. */
function recorded(count: number) {
  const writer = new TraceWriter({ hasher: hostCodecs, at: START });
  const segments: Uint8Array[] = [];
  const points = [writer.point];
  for (let i = 1; i <= count; i++) {
    const event = { kind: "console", port: "uart", bytes: Uint8Array.of(i) } as const;
    const place = { position: position(BigInt(i * 100)), idleTicks: undefined };
    writer.append({ kind: "input", ...place, event });
    const at = { position: position(BigInt(i * 100 + 50)), idleTicks: undefined };
    writer.append({ kind: "frontier", ...at });
    segments.push(writer.seal()?.bytes ?? new Uint8Array(0));
    points.push(writer.point);
  }
  return { segments, points };
}

function rig(prepare: (machine: FakeMachine) => void = () => undefined) {
  const machine = new FakeMachine(8);
  prepare(machine);
  const store = new FakeStore();
  const reports: VmReport[] = [];
  const lived: unknown[] = [];
  const clock = { now: 0 };
  const saved: number[] = [];
  const loop = new ReplayLoop({
    machine,
    store,
    checkpoint: 3,
    from: START,
    codecs: hostCodecs,
    showOutputs: false,
    clock: () => clock.now,
    cpuMs: () => 0,
    report: (report) => reports.push(report),
    save: ({ id }) => saved.push(id) > 0,
    goLive: (request, base) => lived.push({ id: request.id, base: base.id }),
  });
  const turn = (): void => {
    for (let i = 0; i < 100; i++) if (loop.advance(0).kind !== "now") return;
    throw new Error("it never comes to stand");
  };
  const of = (kind: VmReport["kind"]) => reports.filter((report) => report.kind === kind);
  return { machine, store, loop, reports, lived, saved, clock, turn, of };
}

test("[VM6] it does what the trace says, stands at its end, and never passes it", () => {
  const { machine, loop, turn, of } = rig();
  const { segments } = recorded(3);
  loop.handle({ kind: "feed", segments: segments.slice(0, 2) });
  turn();
  expect(machine.position).toBe(250n);
  expect(machine.inputs).toHaveLength(2);
  turn();
  expect(machine.position).toBe(250n);
  expect(of("at-frontier")).toMatchObject([{ position: 250n, trace: { sequence: 2 } }]);
  loop.handle({ kind: "feed", segments: segments.slice(2) });
  turn();
  expect(machine.position).toBe(350n);
  expect(of("at-frontier")).toHaveLength(2);
});

test("[VM6] missing pages are asked for once, and it goes on when they are there", () => {
  const { machine, loop, turn, of } = rig((fresh) => fresh.absent.add(4).add(5));
  machine.script.push({ kind: "missing-page", pages: [4] }, { kind: "missing-page", pages: [4] });
  loop.handle({ kind: "feed", segments: recorded(1).segments });
  turn();
  turn();
  expect(of("missing")).toMatchObject([{ pages: [4] }]);
  loop.handle({ kind: "supply-zero-pages", pages: Uint32Array.of(5) });
  turn();
  expect(of("missing")).toHaveLength(1);
  loop.handle({
    kind: "supply-pages",
    pages: Uint32Array.of(4),
    bytes: new Uint8Array(PAGE_BYTES).fill(9),
  });
  turn();
  expect(machine.readPage(4)[0]).toBe(9);
  expect(machine.position).toBe(150n);
});

test("it tells of the time in which it does not replay, and of no other", () => {
  const { machine, loop, clock, of } = rig();
  const run = machine.run.bind(machine);
  machine.run = (...limits) => {
    clock.now += 30_000;
    return run(...limits);
  };
  loop.handle({ kind: "feed", segments: recorded(1).segments });
  clock.now = 500_000;
  loop.advance(clock.now);
  expect(clock.now).toBeGreaterThanOrEqual(530_000);
  expect(of("replayed").at(-1)).toMatchObject({ waitingMs: 50 });
});

test("[VM6] chunks come from the store, or are asked for", () => {
  const { machine, store, loop, turn, of } = rig((fresh) => {
    fresh.overlay = [
      { disk: 0, chunk: 1, zero: false },
      { disk: 0, chunk: 2, zero: true },
    ];
  });
  machine.script.push({
    kind: "missing-block",
    blocks: [0, 1].map((chunk) => ({ disk: 0, chunk })),
  });
  loop.handle({ kind: "feed", segments: recorded(1).segments });
  turn();
  expect(machine.supplied).toEqual([{ disk: 0, chunk: 0 }]);
  expect(of("missing")).toMatchObject([{ blocks: [{ disk: 0, chunk: 1 }] }]);
  const chunks = [{ disk: 0, chunk: 1 }];
  loop.handle({ kind: "supply-chunks", chunks, bytes: new Uint8Array(65_536).fill(1) });
  turn();
  expect(machine.position).toBe(150n);
  expect(store.expectedCount).toBe(0);
});

function jump(at: number, points: readonly TracePoint[]) {
  return {
    kind: "jump",
    id: 8,
    position: BigInt(at * 100 + 50),
    ticks: 10n,
    state: encodeState({ position: BigInt(at * 100 + 50) }),
    trace: points[at] ?? START,
    pages: [{ pages: Uint32Array.of(6), bytes: new Uint8Array(PAGE_BYTES).fill(6) }],
    zeroPages: Uint32Array.of(7),
    chunks: [],
  } as const;
}

test("a leap forward skips the trace in between; one that comes too late changes nothing", () => {
  const { machine, loop, turn, of } = rig((fresh) => fresh.absent.add(2).add(6));
  const { segments, points } = recorded(4);
  loop.handle({ kind: "feed", segments: segments.slice(0, 1) });
  turn();
  loop.handle(jump(3, points));
  expect(of("jumped")).toMatchObject([{ applied: true, position: 350n }]);
  expect(machine.readPage(6)[0]).toBe(6);
  expect([...machine.absent]).toEqual([2]);
  loop.handle({ kind: "feed", segments: segments.slice(3) });
  turn();
  expect(machine.position).toBe(450n);
  expect(machine.inputs).toHaveLength(2);
  loop.handle(jump(2, points));
  expect(of("jumped")[1]).toMatchObject({ applied: false, position: 450n });
});

test("it goes live only at the end of the trace, with nothing absent", () => {
  const { loop, turn, of, lived } = rig((fresh) => fresh.absent.add(2));
  const { segments, points } = recorded(2);
  const live = {
    kind: "go-live",
    id: 5,
    behindTicks: 0,
    entropySeed: undefined,
    record: undefined,
    frozen: false,
  } as const;
  loop.handle({ kind: "feed", segments });
  loop.handle(live);
  turn();
  loop.handle(live);
  expect(of("refused")).toHaveLength(2);
  loop.handle(jump(2, points));
  loop.handle({ kind: "supply-rest-zero" });
  turn();
  loop.handle(live);
  expect(lived).toEqual([{ id: 5, base: 8 }]);
  expect(loop.advance(0)).toEqual({ kind: "ended" });
});

test("at the cutover's place the digest decides", () => {
  for (const good of [true, false]) {
    const { machine, loop, turn, of } = rig();
    loop.handle({ kind: "feed", segments: recorded(1).segments });
    const place = { id: 6, position: 150n, ticks: ticks(10n) };
    loop.handle({ kind: "replay-to", ...place, digest: good ? "" : "bad" });
    const twin = new FakeMachine(8);
    twin.position = position(100n);
    twin.input({ kind: "console", port: "uart", bytes: Uint8Array.of(1) });
    twin.position = position(150n);
    if (good) loop.handle({ kind: "replay-to", ...place, digest: twin.digest() });
    turn();
    expect(machine.position).toBe(150n);
    expect(of("reached")).toHaveLength(good ? 1 : 0);
    expect(of("diverged")).toHaveLength(good ? 0 : 1);
  }
});

test("a damaged segment stops everything with its code", () => {
  const { loop } = rig();
  const [segment] = recorded(1).segments;
  const bad = segment?.slice() ?? new Uint8Array(0);
  bad[10] = (bad[10] ?? 0) ^ 1;
  expect(() => loop.handle({ kind: "feed", segments: [bad] })).toThrow(/damaged|trace/);
});

test("[VM6] it is saved where it stands, once every page is there", () => {
  const { loop, saved, of } = rig((fresh) => fresh.absent.add(4));
  const target = { path: "snapshot", image: "", keyboard: "uart", diskSha256: [] } as const;
  loop.handle({ kind: "save", id: 5, target, thenStop: false });
  expect(of("refused")).toMatchObject([{ id: 5, error: { code: "E_VM_MODE" } }]);
  loop.handle({ kind: "supply-rest-zero" });
  loop.handle({ kind: "save", id: 6, target, thenStop: false });
  expect(saved).toEqual([6]);
});
