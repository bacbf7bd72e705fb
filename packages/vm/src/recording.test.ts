import { position, ticks } from "@dejavm/machine";
import { type TracePoint, TraceReader, type TraceRecord } from "@dejavm/trace";
import { expect, test } from "vitest";
import { hostCodecs } from "./driver/host-codecs.ts";
import { Recording } from "./recording.ts";
import type { SegmentReport } from "./reports.ts";
import { FakeMachine } from "./test-support/fake-machine.ts";

const MS = 10_000;
const START: TracePoint = { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) };

function rig() {
  const machine = new FakeMachine();
  const clock = { now: 0 };
  const segments: SegmentReport[] = [];
  const recording = new Recording({
    machine,
    from: START,
    hasher: hostCodecs,
    clock: () => clock.now,
    report: (segment) => segments.push(segment),
  });
  const type = (text: string): void => {
    recording.input({ kind: "console", port: "uart", bytes: Buffer.from(text) }, undefined);
  };
  const run = (positions: bigint): void => {
    machine.run(position(machine.position + positions), ticks(0n));
  };
  const records = (): TraceRecord[] => {
    const reader = new TraceReader({ codecs: hostCodecs, at: START });
    return segments.flatMap(({ bytes }) => reader.read(bytes)).flatMap((unit) => unit.records);
  };
  return { machine, clock, segments, recording, type, run, records };
}

test("[VM3] a guest that neither gets nor says anything costs no trace", () => {
  const { clock, segments, recording, run } = rig();
  for (let i = 0; i < 1000; i++) {
    run(1000n);
    clock.now += MS;
    recording.afterSlice(0);
  }
  expect(segments).toEqual([]);
  expect(recording.due).toBeUndefined();
});

test("[VM2] a seal ends with the machine's place, and its number is what outputs wait for", () => {
  const { segments, recording, type, run, records } = rig();
  expect(recording.seal()).toBeUndefined();
  type("a");
  run(50n);
  expect(recording.seal()).toBe(0);
  expect(recording.seal()).toBe(0);
  run(50n);
  expect(recording.seal()).toBe(1);
  expect(segments.map(({ header, lastPosition }) => [header.sequence, lastPosition])).toEqual([
    [0, 50n],
    [1, 100n],
  ]);
  expect(records().map(({ kind, position }) => [kind, position])).toEqual([
    ["input", 0n],
    ["frontier", 50n],
    ["frontier", 100n],
  ]);
});

test("records without outputs are sealed when they are old, or many", () => {
  const { clock, segments, recording, type, run } = rig();
  type("a");
  run(10n);
  expect(recording.due).toBe(100 * MS);
  clock.now = 99 * MS;
  recording.afterSlice(0);
  expect(segments).toHaveLength(0);
  clock.now = 100 * MS;
  recording.afterSlice(0);
  expect(segments).toHaveLength(1);
  for (let i = 0; i < 20; i++) type("x".repeat(4096));
  expect(segments.length).toBeGreaterThan(1);
});

test("clock events alone can wait longer", () => {
  const { recording, type } = rig();
  const clockEvent = { kind: "clock", rate: 1n, step: 0n } as const;
  recording.input(clockEvent, undefined);
  expect(recording.due).toBe(1000 * MS);
  type("a");
  expect(recording.due).toBe(100 * MS);
  recording.seal();
  expect(recording.due).toBeUndefined();
  recording.input(clockEvent, undefined);
  expect(recording.due).toBe(1000 * MS);
});

test("a machine that is followed is sealed at the interval, as long as it moves", () => {
  const { clock, segments, recording, run } = rig();
  recording.intervalMs = 5;
  for (let i = 0; i < 50; i++) {
    clock.now += MS;
    if (i < 25) run(10n);
    recording.afterSlice(0);
  }
  expect(segments).toHaveLength(5);
});

test("digests come at intervals, prepared in parts, and take their share of the execution", () => {
  const { machine, clock, recording, run, records } = rig();
  const cost = { ticks: 0 };
  const plain = machine.digest.bind(machine);
  machine.digest = () => {
    clock.now += cost.ticks;
    return plain();
  };
  const positions = (): number => records().filter(({ kind }) => kind === "digest").length;
  /** `busy`: the share of the time in which the guest executes. */
  const runFor = (ms: number, busy: number): void => {
    const end = clock.now + ms * MS;
    while (clock.now < end) {
      run(10n);
      clock.now += MS;
      recording.afterSlice(busy * MS);
    }
  };
  runFor(10_100, 1);
  expect(positions()).toBe(5);
  expect(machine.prepared.length).toBe(10);
  cost.ticks = 8 * MS;
  // The next one comes as before, and costs the share of eight seconds twice over.
  runFor(2100, 1);
  expect(positions()).toBe(6);
  runFor(7000, 1);
  expect(positions()).toBe(6);
  runFor(2000, 1);
  expect(positions()).toBe(7);
  // A guest that hardly executes is looked at within a minute all the same.
  runFor(50_000, 0.01);
  expect(positions()).toBe(7);
  runFor(12_000, 0.01);
  expect(positions()).toBe(8);
});

test("an input that lacks something is recorded once it is accepted", () => {
  const { machine, recording, records } = rig();
  machine.inputAnswers.push({ kind: "missing-block", blocks: [{ disk: 0, chunk: 1 }] });
  const event = { kind: "power-button" } as const;
  expect(recording.input(event, undefined).kind).toBe("missing-block");
  expect(recording.input(event, undefined).kind).toBe("accepted");
  recording.end({ kind: "power-off", status: 0 });
  expect(records().map(({ kind }) => kind)).toEqual(["input", "end"]);
});
