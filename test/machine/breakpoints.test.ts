/** Breakpoints stop in front of their instruction, each time it is due, and change nothing. */
import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { accessedBits } from "./programs/accessed-bits.ts";
import { BARE_PROGRAMS } from "./programs/bare.ts";
import { EXECUTED_TABLES } from "./programs/executed-table.ts";
import { pagedProgram } from "./programs/paged.ts";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest, inGate, type Program, registers } from "./support/guest.ts";

const PROGRAMS: readonly Program[] = [
  ...BARE_PROGRAMS,
  ...EXECUTED_TABLES,
  accessedBits(),
  { ...virtioProgram(), length: inGate(700, 1700) },
  { ...pagedProgram("sv39", 21), length: inGate(500, 2000) },
  { ...pagedProgram("sv48", 22), length: inGate(500, 2000) },
];
/** Sets of breakpoints that are tried. */
const ROUNDS = inGate(2, 6);

/** What is due at a position, from a run in single steps. */
interface Due {
  readonly pc: bigint;
  /** Undefined: something happens at this position before the instruction. */
  readonly digest: string | undefined;
  /** An interrupt comes before the instruction. */
  readonly interrupted: boolean;
}

/** Whether what happened last was an interrupt, and not an instruction or an exception. */
function tookInterrupt(before: bigint | undefined, guest: Guest): boolean {
  const { traps, mode, mcause, scause } = guest.machine.save().hart as Record<string, bigint>;
  if (traps === before) return false;
  return ((Number(mode) === 3 ? mcause : scause) ?? 0n) >> 63n === 1n;
}

/** What is due at each position of a program. */
function singleSteps(program: Program): Due[] {
  const guest = new Guest(program);
  const inputs = new Set(program.inputs?.map(({ at }) => at));
  const steps: Due[] = [];
  for (let at = 1; at <= program.length + 1; at++) {
    const { traps, waiting } = guest.machine.save().hart as Record<string, bigint>;
    const { pc } = guest.machine;
    const settled = waiting === 0n && !inputs.has(at - 1);
    const digest = settled ? guest.machine.digest() : undefined;
    guest.runTo(at);
    steps.push({ pc, digest, interrupted: tookInterrupt(traps, guest) });
  }
  return steps;
}

describe.each(PROGRAMS)("$name", (program) => {
  const steps = singleSteps(program);
  const whole = new Guest(program);
  whole.runTo(program.length);
  const end = whole.fingerprint();
  const outputs = whole.takeOutputs();

  /** The machine, stopped in front of pc, is in the state of single steps at this position. */
  function expectDue(guest: Guest, pc: bigint): void {
    const due = steps[guest.position];
    expect(pc).toBe(due?.pc);
    if (due?.digest === undefined || guest.machine.digest() === due.digest) return;
    // Time may have been skipped, or an alarm have rung, in front of the instruction.
    const reference = new Guest(program);
    reference.runTo(guest.position);
    expect(registers(guest.machine)).toEqual(registers(reference.machine));
    expect(guest.fingerprint().ram).toBe(reference.fingerprint().ram);
  }

  test("[MA10] [MA11] a few, set at power-on and again half way", () => {
    const random = new Prng(0xb4ea);
    const guest = new Guest(program);
    const start = guest.snapshot();
    for (let round = 0; round < ROUNDS; round++) {
      guest.restore(start);
      const half = Math.floor(program.length / 2);
      for (const [from, to] of [
        [0, half],
        [half, program.length],
      ] as const) {
        const here = steps.slice(from, to);
        const chosen = Array.from({ length: 1 + random.below(3) }, () => random.pick(here).pc);
        const seen: number[] = [];
        guest.onBreakpoint = (pc) => {
          expectDue(guest, pc);
          seen.push(guest.position);
          if (random.oneIn(8)) guest.machine.dropCaches();
        };
        guest.machine.setBreakpoints(chosen);
        guest.runTo(to);
        const due = here.flatMap(({ pc, interrupted }, i) =>
          chosen.includes(pc) && !interrupted ? [from + i] : [],
        );
        expect(seen).toEqual(due);
      }
      expect(guest.fingerprint()).toEqual(end);
      expect(guest.takeOutputs()).toBe(outputs);
    }
  });

  test("[MA10] [MA11] at every instruction", () => {
    const guest = new Guest(program);
    let stops = 0;
    guest.onBreakpoint = (pc) => {
      expectDue(guest, pc);
      stops++;
    };
    guest.machine.setBreakpoints([...new Set(steps.map(({ pc }) => pc))]);
    guest.runTo(program.length);
    const due = steps.slice(0, program.length).filter(({ interrupted }) => !interrupted);
    expect(stops).toBe(due.length);
    expect(guest.fingerprint()).toEqual(end);
    expect(guest.takeOutputs()).toBe(outputs);
  });
});
