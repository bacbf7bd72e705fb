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
  options: { limit?: Position; pacer?: Pacer; answers?: boolean; record?: TracePoint } = {},
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
