import { type Position, position, ticks } from "@dejavm/machine";
import type { TracePoint } from "@dejavm/trace";
import { describe, expect, test } from "vitest";
import { hostCodecs } from "./driver/host-codecs.ts";
import { ExecutionLoop, MAX_UNREAD_OUTPUT_BYTES, MAX_WAITING_FRAMES } from "./loop.ts";
import { FreePacer, LivePacer, type Pacer } from "./pacer.ts";
import type { VmReport } from "./reports.ts";
import type { LiveRequest } from "./requests.ts";
import { FakeMachine, FakeStore } from "./test-support/fake-machine.ts";

interface Rig {
  readonly machine: FakeMachine;
  readonly store: FakeStore;
  readonly loop: ExecutionLoop;
  readonly reports: VmReport[];
  readonly asked: LiveRequest[];
  readonly clock: { now: number };
}

function rig(
  options: {
    limit?: Position;
    pacer?: Pacer;
    answers?: boolean;
    record?: TracePoint;
    waits?: () => boolean;
  } = {},
): Rig {
  const machine = new FakeMachine();
  const store = new FakeStore();
  const reports: VmReport[] = [];
  const clock = { now: 0 };
  const asked: LiveRequest[] = [];
  const loop = new ExecutionLoop({
    machine,
    store,
    pacer: options.pacer ?? new FreePacer(),
    limit: options.limit,
    digestAtEnd: true,
    record: options.record,
    base: undefined,
    inputs: [],
    hasher: hostCodecs,
    clock: () => clock.now,
    cpuMs: () => 0,
    requestWaits: () => options.waits?.() ?? false,
    report: (report) => reports.push(report),
    save: (request) => {
      asked.push(request);
      return options.answers ?? true;
    },
  });
  return { machine, store, loop, reports, asked, clock };
}

const bytes = (count: number) => new Uint8Array(count).fill(0x61);
const target = { path: "x", image: "", keyboard: "uart" as const, diskSha256: [] };

describe("execution loop", () => {
  test("a power-off ends it, with position and digest", () => {
    const { machine, loop, reports } = rig();
    machine.script.push({ kind: "power-off", status: 3 });
    expect(loop.advance(0)).toEqual({ kind: "ended" });
    expect(loop.advance(0)).toEqual({ kind: "ended" });
    expect(reports).toEqual([
      expect.objectContaining({
        kind: "ended",
        reason: { kind: "power-off", status: 3 },
        digest: machine.digest(),
      }),
    ]);
  });

  test("the limit is never passed, is reported once, and waits for what comes then", () => {
    const { machine, loop, reports } = rig({ limit: position(1_500_000n) });
    expect(loop.advance(0)).toEqual({ kind: "now" });
    loop.advance(0);
    expect(machine.position).toBe(1_500_000n);
    expect(loop.advance(0)).toEqual({ kind: "until", at: undefined });
    expect(reports.map(({ kind }) => kind)).toEqual(["at-limit"]);
    loop.handle({ kind: "stop" });
    expect(reports[1]).toMatchObject({ kind: "ended", reason: { kind: "limit" } });
  });

  test("a reset is the end where the machine does not restart", () => {
    const { machine, loop, reports } = rig();
    machine.script.push({ kind: "reset" });
    expect(loop.advance(0)).toEqual({ kind: "ended" });
    expect(reports).toMatchObject([{ kind: "ended", reason: { kind: "reset" }, restarts: 0 }]);
  });

  test("an idle machine is left alone until an input comes, which gets its virtual time", () => {
    const { machine, loop } = rig({ pacer: new LivePacer({ now: 10, ticks: ticks(10n) }) });
    machine.script.push({ kind: "idle", deadline: undefined });
    expect(loop.advance(10)).toEqual({ kind: "now" });
    expect(loop.advance(20)).toEqual({ kind: "now" });
    expect(loop.advance(30)).toEqual({ kind: "until", at: undefined });
    loop.handle({ kind: "console", port: "uart", bytes: bytes(3) });
    loop.handle({ kind: "power-button" });
    loop.advance(5000);
    const [, ...inputs] = machine.inputs;
    expect(inputs.map(({ event, at }) => [event.kind, at])).toEqual([
      ["power-button", 5000n],
      ["console", undefined],
    ]);
  });

  test("[VM7] after an idle time the first frame ends its slice, the next ones do not", () => {
    const { machine, loop } = rig({ waits: () => true });
    const pauses = () => machine.runs.splice(0).map(({ pauseAtFrame }) => pauseAtFrame);
    loop.advance(0);
    machine.script.push({ kind: "idle", deadline: undefined });
    loop.advance(0);
    loop.handle({ kind: "frame", bytes: bytes(60) });
    loop.advance(0);
    machine.outputs.push({ kind: "console", port: "uart", bytes: bytes(1) });
    loop.advance(0);
    machine.outputs.push({ kind: "frame", bytes: bytes(60) });
    loop.advance(0);
    loop.advance(0);
    expect(pauses()).toEqual([false, false, true, true, true, false]);
  });

  test("[VM7] after an answer the next request ends the slice; a busy guest has whole ones", () => {
    let waits = false;
    const { machine, loop } = rig({ waits: () => waits });
    const frame = { kind: "frame", bytes: bytes(60) } as const;
    const run = machine.run.bind(machine);
    let answers = false;
    machine.run = (until, skip, pauses) => {
      const stop = run(until, skip, pauses);
      if (answers) machine.outputs.push(frame);
      return stop;
    };
    const runs = () => machine.runs.splice(0);
    const goIdle = () => {
      machine.script.push({ kind: "idle", deadline: undefined });
      loop.advance(0);
      runs();
    };
    const answer = (count: number) => {
      for (let i = 0; i < count; i++) loop.handle(frame);
      answers = true;
      loop.advance(0);
      answers = false;
      return runs();
    };
    goIdle();
    // From idle, and again before it: each answer is awaited.
    for (let i = 0; i < 3; i++) {
      expect(answer(1)).toMatchObject([{ pauseAtFrame: true }]);
      const at = machine.position;
      waits = true;
      loop.advance(0);
      expect(runs()).toMatchObject([{ until: at + 8192n }]);
    }
    // Nobody asks: the whole slice, then no more looks.
    answer(1);
    waits = false;
    loop.advance(0);
    expect(runs().length).toBeGreaterThan(10);
    loop.advance(0);
    expect(runs()).toHaveLength(1);
    // Several at once: the guest is busy.
    goIdle();
    answer(1);
    expect(answer(2)).toMatchObject([{ pauseAtFrame: false }]);
  });

  test("console input is given as there is room, in order, and accounted for", () => {
    const { machine, loop, reports } = rig();
    machine.room = 4;
    loop.handle({ kind: "console", port: "uart", bytes: Uint8Array.of(1, 2, 3, 4, 5, 6) });
    const run = machine.run.bind(machine);
    let room = 4;
    machine.consoleRoom = () => room;
    machine.input = (event) => {
      machine.inputs.push({ event, at: undefined });
      if (event.kind === "console") room -= event.bytes.length;
      return { kind: "accepted" };
    };
    machine.run = (until, skip) => {
      room = 4;
      return run(until, skip);
    };
    loop.advance(0);
    expect(machine.inputs).toHaveLength(1);
    loop.advance(0);
    expect(machine.inputs.map(({ event }) => event)).toEqual([
      { kind: "console", port: "uart", bytes: Uint8Array.of(1, 2, 3, 4) },
      { kind: "console", port: "uart", bytes: Uint8Array.of(5, 6) },
    ]);
    const taken = reports.filter(({ kind }) => kind === "console-taken");
    expect(taken).toMatchObject([{ bytes: 4 }, { bytes: 2 }]);
  });

  test("a machine whose output nobody reads waits, and goes on when it is read", () => {
    const { machine, loop, reports } = rig();
    const output = { kind: "console", port: "uart", bytes: bytes(MAX_UNREAD_OUTPUT_BYTES + 1) };
    machine.outputs.push({ ...output, kind: "console", port: "uart" });
    loop.advance(0);
    expect(reports).toMatchObject([{ kind: "outputs", outputs: [{ kind: "console" }] }]);
    expect(loop.advance(0)).toEqual({ kind: "until", at: undefined });
    loop.handle({ kind: "written", bytes: 1 });
    expect(loop.advance(0)).toEqual({ kind: "now" });
  });

  test(`frames above ${MAX_WAITING_FRAMES} waiting are dropped`, () => {
    const { machine, loop } = rig();
    for (let i = 0; i < MAX_WAITING_FRAMES + 5; i++)
      loop.handle({ kind: "frame", bytes: bytes(60) });
    loop.advance(0);
    expect(machine.inputs).toHaveLength(MAX_WAITING_FRAMES);
    loop.handle({ kind: "frame", bytes: bytes(60) });
    loop.advance(0);
    expect(machine.inputs).toHaveLength(MAX_WAITING_FRAMES + 1);
  });

  test("a missing chunk is supplied, after what the machine changed was kept", () => {
    const { machine, store, loop } = rig();
    const dirty = { disk: 0, chunk: 7, bytes: bytes(65_536) };
    machine.dirty.push(dirty);
    machine.script.push({ kind: "missing-block", blocks: [{ disk: 0, chunk: 9 }] });
    expect(loop.advance(0)).toEqual({ kind: "now" });
    expect(machine.supplied).toEqual([{ disk: 0, chunk: 9 }]);
    expect(store.written).toEqual([dirty]);
  });

  test("an input that lacks a chunk is given again, once", () => {
    const { machine, loop } = rig();
    machine.inputAnswers.push({ kind: "missing-block", blocks: [{ disk: 1, chunk: 2 }] });
    loop.handle({ kind: "power-button" });
    loop.advance(0);
    expect(machine.supplied).toEqual([{ disk: 1, chunk: 2 }]);
    expect(machine.inputs).toHaveLength(1);
  });

  test("a save sees every changed chunk; it stops the machine only if it was made", () => {
    for (const answers of [true, false]) {
      const { machine, store, loop, reports, asked } = rig({ answers });
      machine.dirty.push({ disk: 0, chunk: 1, bytes: undefined });
      loop.handle({ kind: "save", id: 1, target, thenStop: true });
      expect(asked).toHaveLength(1);
      expect(store.written).toHaveLength(1);
      expect(reports.map(({ kind }) => kind)).toEqual(answers ? ["ended"] : []);
    }
  });

  test("a live machine that stops for a page is a defect", () => {
    const { machine, loop } = rig();
    machine.script.push({ kind: "missing-page", pages: [1] });
    expect(() => loop.advance(0)).toThrow("missing-page");
  });
});

describe("recorded, steered and read", () => {
  const START: TracePoint = { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) };
  const kinds = (reports: readonly VmReport[]) => reports.map(({ kind }) => kind);

  test("[VM2] outputs come behind the segment that they name", () => {
    const { machine, loop, reports } = rig({ record: START });
    loop.handle({ kind: "console", port: "uart", bytes: bytes(3) });
    machine.outputs.push({ kind: "console", port: "uart", bytes: bytes(5) });
    loop.advance(0);
    expect(kinds(reports)).toEqual(["segment", "outputs", "console-taken"]);
    expect(reports[1]).toMatchObject({ after: 0 });
    machine.outputs.push({ kind: "frame", bytes: bytes(60) });
    loop.advance(0);
    expect(reports.at(-1)).toMatchObject({ kind: "outputs", after: 1 });
    loop.handle({ kind: "stop-recording" });
    machine.outputs.push({ kind: "frame", bytes: bytes(60) });
    loop.advance(0);
    expect(reports.at(-1)).toMatchObject({ kind: "outputs", after: undefined });
  });

  test("[VM5] a frozen machine does nothing; what comes is told, kept and given later", () => {
    const { machine, loop, reports } = rig({ record: START });
    loop.advance(0);
    loop.handle({ kind: "power-button" });
    loop.handle({ kind: "freeze", id: 1 });
    const { position } = machine;
    expect(reports.find(({ kind }) => kind === "frozen")).toMatchObject({
      id: 1,
      position,
      digest: machine.digest(),
      waiting: [{ kind: "power-button" }],
    });
    expect(loop.advance(0).kind).toBe("until");
    const frame = { kind: "frame" as const, bytes: bytes(60) };
    loop.handle(frame);
    expect(reports.at(-1)).toEqual({ kind: "late-input", event: frame });
    loop.handle({ kind: "freeze", id: 2 });
    expect(reports.at(-1)).toMatchObject({ kind: "refused", id: 2 });
    loop.advance(0);
    expect(machine.position).toBe(position);
    expect(machine.inputs).toEqual([]);
    loop.handle({ kind: "unfreeze", id: 3 });
    loop.advance(0);
    expect(reports.at(-1)).toMatchObject({ kind: "unfrozen", id: 3 });
    expect(machine.inputs.map(({ event }) => event.kind)).toEqual(["power-button", "frame"]);
  });

  /** Share of the time that a guest ran; its thread waits `starvedFor` before each slice. */
  function shareOf(share: number, starvedFor: number): number {
    const { machine, loop, clock } = rig();
    let ran = 0;
    machine.run = () => {
      ran += 1000;
      clock.now += 1000;
      return { kind: "budget" };
    };
    loop.handle({ kind: "throttle", share });
    while (clock.now < 10_000_000) {
      const wait = loop.advance(clock.now);
      if (wait.kind === "until" && wait.at !== undefined) clock.now = wait.at;
      clock.now += starvedFor;
    }
    return ran / clock.now;
  }

  test("a throttled guest rests for as long as its share says, and no more if it starves", () => {
    expect(shareOf(0.25, 0)).toBeCloseTo(0.25, 2);
    expect(shareOf(1, 0)).toBe(1);
    expect(shareOf(0.25, 9000)).toBeCloseTo(0.1, 2);
  });

  const checkpoint = {
    kind: "checkpoint",
    id: 7,
    since: undefined,
    maxSavedPages: 1,
    whenFull: "give-up",
    recordFirstTouch: false,
  } as const;
  const pagesOf = (reports: readonly VmReport[]) =>
    reports.flatMap((report) =>
      report.kind === "pages"
        ? Array.from(report.pages, (page, i) => [page, report.bytes[i * 4096]])
        : [],
    );

  test("[VM4] a checkpoint's pages and chunks are those of its moment", () => {
    const { machine, store, loop, reports } = rig({ record: START });
    machine.poke(1, 11);
    machine.poke(2, 22);
    machine.dirty.push({ disk: 0, chunk: 5, bytes: bytes(65_536) });
    loop.handle({ ...checkpoint, maxSavedPages: 10 });
    machine.poke(1, 12);
    machine.poke(3, 33);
    store.write({ disk: 0, chunk: 5, bytes: undefined });
    loop.handle({ kind: "read-pages", id: 7, pages: Uint32Array.of(2, 1, 0) });
    loop.handle({ kind: "read-chunks", id: 7, chunks: [{ disk: 0, chunk: 5 }] });
    loop.advance(0);
    loop.advance(0);
    expect(reports.find(({ kind }) => kind === "checkpoint-begun")).toMatchObject({
      pages: Uint32Array.of(1, 2),
      chunks: [{ disk: 0, chunk: 5 }],
      trace: START,
    });
    expect(pagesOf(reports)).toEqual([
      [2, 22],
      [1, 11],
    ]);
    const [pages] = reports.filter((report) => report.kind === "pages");
    expect(pages?.zeroPages).toEqual(Uint32Array.of(0));
    const [chunks] = reports.filter((report) => report.kind === "chunks");
    expect(chunks?.bytes[0]).toBe(0x61);
    loop.handle({ kind: "close-checkpoint", id: 7 });
    loop.handle({ ...checkpoint, id: 8, since: 7 });
    expect(reports.at(-1)).toMatchObject({ since: 7, pages: Uint32Array.of(1, 3) });
    loop.handle({ kind: "read-pages", id: 7, pages: Uint32Array.of(1) });
    expect(reports.at(-1)).toMatchObject({ kind: "refused", id: 7 });
    loop.handle({ ...checkpoint, id: 9, since: 1234 });
    expect(reports.at(-1)).toMatchObject({ kind: "checkpoint-begun", since: undefined });
  });

  test("[VM4] too many old pages: it is given up, or the guest waits for the reader", () => {
    const first = rig();
    first.loop.handle(checkpoint);
    for (const page of [1, 2, 3]) first.machine.poke(page, 1);
    first.loop.advance(0);
    expect(kinds(first.reports)).toContain("checkpoint-abandoned");

    const { machine, loop, reports } = rig();
    loop.handle({ ...checkpoint, whenFull: "wait" });
    for (const page of [1, 2, 3]) machine.poke(page, 1);
    const { position } = machine;
    expect(loop.advance(0)).toEqual({ kind: "until", at: undefined });
    expect(machine.position).toBe(position);
    loop.handle({ kind: "read-pages", id: 7, pages: Uint32Array.of(1, 2) });
    expect(loop.advance(0)).toEqual({ kind: "now" });
    expect(machine.position).toBeGreaterThan(position);
    expect(kinds(reports)).not.toContain("checkpoint-abandoned");
  });

  test("an idle machine answers readers one after the other without waiting", () => {
    const { machine, loop, reports } = rig({ pacer: new LivePacer({ now: 0, ticks: ticks(10n) }) });
    machine.script.push({ kind: "idle", deadline: undefined });
    loop.advance(0);
    loop.advance(0);
    loop.handle({ ...checkpoint, maxSavedPages: 10 });
    for (const page of [0, 1, 2]) {
      loop.handle({ kind: "read-pages", id: 7, pages: Uint32Array.of(page) });
    }
    expect([loop.advance(0), loop.advance(0)]).toEqual([{ kind: "now" }, { kind: "now" }]);
    expect(loop.advance(0).kind).toBe("until");
    expect(kinds(reports).filter((kind) => kind === "pages")).toHaveLength(3);
  });

  test("a digest that is asked for is prepared between slices, and taken at once at a stop", () => {
    const { machine, loop, reports } = rig({ record: START });
    loop.handle({ kind: "digest", id: 1 });
    loop.advance(0);
    expect(kinds(reports)).toEqual([]);
    loop.advance(0);
    expect(kinds(reports)).toEqual(["segment", "digest"]);
    expect(machine.prepared).toEqual([256, 256]);
    loop.handle({ kind: "freeze", id: 2 });
    loop.handle({ kind: "digest", id: 3 });
    loop.advance(0);
    expect(reports.at(-1)).toMatchObject({ kind: "digest", id: 3, digest: machine.digest() });
    expect(machine.prepared).toHaveLength(2);
  });

  test("what only a replay can do is refused", () => {
    const { loop, reports } = rig();
    loop.handle({
      kind: "replay-to",
      id: 4,
      position: 1n,
      ticks: 1n,
      digest: "",
    });
    expect(reports).toMatchObject([{ kind: "refused", id: 4, error: { code: "E_VM_MODE" } }]);
  });
});
