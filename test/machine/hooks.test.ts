/** What recording, replay and migration lean on beside dirty tracking and absent pages. */
import { bareMachine, Machine, NO_JIT, position, ticks } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { pagedProgram } from "./programs/paged.ts";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest } from "./support/guest.ts";

const VIRTIO = virtioProgram();
const PAGED = { ...pagedProgram("sv39", 21), length: 1000 };

describe.each([VIRTIO, PAGED])("$name", (program) => {
  const middle = Math.floor(program.length / 2);

  test("[MA11] a leap to a later moment equals having run there, over absent pages, too", () => {
    const source = new Guest(program);
    source.runTo(middle);
    const { ram } = source.machine;
    const epoch = ram.beginEpoch();
    const early = source.snapshot();
    const target = Guest.restored(program, early);
    const absent = [...early.pages.keys()].slice(0, 3);
    for (const page of absent) target.remove(page);
    source.runTo(program.length - 20);
    const late = source.snapshot();
    const changed = ram.dirtySince(epoch);
    target.machine.leap(
      late.state,
      Array.from(changed, (page) => [page, late.pages.get(page)] as const),
    );
    for (const page of absent) {
      if (target.machine.isAbsentPage(page)) {
        target.machine.supplyPage(page, early.pages.get(page));
      }
    }
    expect(target.fingerprint()).toEqual(source.fingerprint());
    const next = Guest.restored(program, late);
    source.runTo(program.length);
    next.runTo(program.length);
    expect(next.fingerprint()).toEqual(source.fingerprint());
  });

  test("[MA12] first touches are the pages that a machine with none of them asks for", () => {
    const source = new Guest(program);
    source.runTo(middle);
    const target = Guest.restored(program, source.snapshot());
    for (const page of target.machine.ram.dirtySince(1)) target.remove(page);
    const asked = new Set<number>();
    target.onMissing = () => {
      for (const page of target.removed.keys()) asked.add(page);
    };
    source.machine.ram.recordTouches();
    source.runTo(program.length);
    target.runTo(program.length);
    const touched = source.machine.ram.takeTouched();
    expect(new Set(touched).size).toBe(touched.length);
    expect(touched.length).toBeGreaterThan(3);
    const wanted = [...asked].filter((page) => !target.removed.has(page));
    expect(wanted.filter((page) => !touched.includes(page))).toEqual([]);
    const order = touched.filter((page) => wanted.includes(page));
    expect(order).toHaveLength(wanted.length);
    source.machine.ram.stopRecordingTouches();
    const untouched = new Guest(program);
    untouched.runTo(program.length);
    expect(source.fingerprint()).toEqual(untouched.fingerprint());
  });

  test("[MA13] a digest prepared in parts while the machine runs is the same", () => {
    const plain = new Guest(program);
    const prepared = new Guest(program);
    for (let at = 50; at <= program.length; at += 50) {
      plain.runTo(at);
      prepared.runTo(at - 25);
      prepared.machine.prepareDigest(1);
      prepared.runTo(at);
      if (at % 100 === 0) prepared.machine.prepareDigest(2);
      if (at % 200 === 0) expect(prepared.machine.digest()).toBe(plain.machine.digest());
    }
    expect(prepared.fingerprint()).toEqual(plain.fingerprint());
  });
});

test("[MA15] a run that pauses at frames ends right behind each, which shows nowhere", () => {
  const plain = new Guest(VIRTIO);
  const pausing = new Guest(VIRTIO);
  const pauses: unknown[] = [];
  pausing.onFrame = () => {
    const taken = pausing.machine.takeOutputs();
    pausing.outputs.push(...taken);
    const last = taken.at(-1);
    pauses.push([last?.output.kind, pausing.machine.position - (last?.position ?? 0n)]);
  };
  for (const guest of [plain, pausing]) guest.runTo(VIRTIO.length);
  expect(pauses).toEqual([
    ["frame", 1n],
    ["frame", 1n],
  ]);
  expect(pausing.fingerprint()).toEqual(plain.fingerprint());
  expect(pausing.takeOutputs()).toBe(plain.takeOutputs());
});

describe("a reset that the guest asks for", () => {
  /** Counts in memory, says so on the UART, waits a while, writes "reset" to the test device. */
  const PROGRAM = [
    0x0000_0417, // auipc s0, 0
    0x0000_1337, // lui   t1, 1
    0x0064_0433, // add   s0, s0, t1
    0x0004_3483, // ld    s1, 0(s0)
    0x0304_8313, // addi  t1, s1, 48
    0x1000_02b7, // lui   t0, 0x10000
    0x0062_8023, // sb    t1, 0(t0)
    0x0014_8493, // addi  s1, s1, 1
    0x0094_3023, // sd    s1, 0(s0)
    0x0010_02b7, // lui   t0, 0x100
    0x0000_7337, // lui   t1, 7
    0x7773_0313, // addi  t1, t1, 0x777
    0x0062_a023, // sw    t1, 0(t0)
  ];
  const config = bareMachine(PROGRAM, {
    disks: [{ sizeBytes: 65_536, readOnly: false, serial: "d" }],
    net: { mac: new Uint8Array(6) },
    wallTimeNs: 5n,
  });
  const options = { jit: NO_JIT, restart: config.boot };
  const run = (machine: Machine, until: bigint): void => {
    expect(machine.run(position(until), ticks(0n))).toEqual({ kind: "budget" });
  };
  const said = (machine: Machine): string =>
    machine
      .takeOutputs()
      .map(({ output }) => Buffer.from(output.bytes).toString())
      .join("");

  test("[MA14] begins anew with empty RAM; position, time and outputs go on", () => {
    const machine = Machine.create(config, options);
    run(machine, 70n);
    expect(machine.restarts).toBe(5);
    expect(said(machine)).toBe("00000");
    const stopping = Machine.create(config, { jit: NO_JIT });
    expect(stopping.run(position(70n), ticks(0n))).toEqual({ kind: "reset" });
  });

  test("[MA14] is the same wherever the run is cut, and wherever it is restored", () => {
    const whole = Machine.create(config, options);
    run(whole, 70n);
    const digest = whole.digest();
    const { boot: _, ...rest } = config;
    const cut = Machine.create(config, options);
    for (const at of [1n, 12n, 13n, 14n, 26n, 27n, 55n]) {
      run(cut, at);
      const restored = Machine.restore(rest, cut.save(), options);
      for (const page of cut.ram.dirtySince(1)) {
        restored.supplyPage(page, cut.readPage(page));
      }
      restored.zeroAbsentPages();
      run(restored, 70n);
      expect(restored.digest()).toBe(digest);
    }
    run(cut, 70n);
    expect(cut.digest()).toBe(digest);
  });

  test("[MA14] is seen by checkpoints and dirty tracking as any other write", () => {
    const machine = Machine.create(config, options);
    run(machine, 10n);
    const before = machine.readPage(1).slice();
    expect(before[0]).toBe(1);
    const checkpoint = machine.checkpoint({ maxSavedPages: 100 });
    run(machine, 16n);
    expect(machine.readPage(1)[0]).toBe(0);
    expect([...machine.ram.dirtySince(checkpoint.epoch)]).toContain(1);
    expect(checkpoint.takePage(1)).toEqual(before);
    checkpoint.close();
  });
});
