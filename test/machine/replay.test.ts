/** A recorded execution is done again exactly, however either is run. */
import { Prng } from "@dejavm/base";
import { EAGER_JIT, NO_JIT } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { sleeperProgram } from "./programs/sleeper.ts";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest } from "./support/guest.ts";
import { LiveRun, type Recording, Replay, type ReplayOptions } from "./support/recording.ts";

const PROGRAMS = [virtioProgram(), sleeperProgram()];
const SEEDS = [1, 2, 3];
const ENGINES = { interpreter: { jit: NO_JIT }, translated: { jit: EAGER_JIT } };

const same = (recording: Recording, guest: Guest, options: ReplayOptions): void => {
  expect(new Replay(recording, guest, options).toEnd()).toEqual({ kind: "at-frontier" });
  expect(guest.fingerprint()).toEqual(recording.end);
};

describe.each(PROGRAMS)("[TR7] $name", (program) => {
  test.for(SEEDS)("recording %d is replayed on both engines, cut at random", (seed) => {
    const random = new Prng(seed);
    const recording = new LiveRun(new Guest(program), random).run();
    for (const engine of Object.values(ENGINES)) {
      const guest = Guest.on(engine, program);
      same(recording, guest, { random, dropCaches: true, removePages: true });
      expect(guest.takeOutputs()).toBe(recording.outputs);
      same(recording, Guest.on(engine, program), { random });
    }
  });

  test("from any checkpoint on", () => {
    const random = new Prng(78);
    const recording = new LiveRun(new Guest(program), random).run();
    expect(recording.checkpoints.length).toBeGreaterThan(3);
    const used = new Guest(program);
    for (const from of recording.checkpoints) same(recording, used, { random, from });
  });
});

test("[TR8] inputs came while the hart waited, when it woke, and after it woke", () => {
  const seen = { waiting: 0, deadline: 0, woken: 0 };
  for (const seed of SEEDS) {
    const run = new LiveRun(new Guest(sleeperProgram()), new Prng(seed)).run();
    for (const name of ["waiting", "deadline", "woken"] as const) seen[name] += run.seen[name];
  }
  expect(Math.min(seen.waiting, seen.deadline, seen.woken)).toBeGreaterThan(0);
});
