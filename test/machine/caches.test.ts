/** Translations and predecoded code are caches: emptying them anywhere changes nothing. */
import { Prng } from "@dejavm/base";
import type { Machine } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { BARE_PROGRAMS } from "./programs/bare.ts";
import { EXECUTED_TABLES } from "./programs/executed-table.ts";
import { manyPages } from "./programs/many-pages.ts";
import { pagedProgram } from "./programs/paged.ts";
import {
  boot,
  fingerprint,
  fresh,
  outputText,
  type Program,
  restore,
  runTo,
  snapshot,
} from "./support/guest.ts";

const SEEDS = [1, 2, 3] as const;
const PROGRAMS: readonly Program[] = [
  ...BARE_PROGRAMS,
  ...EXECUTED_TABLES,
  ...SEEDS.map((seed) => pagedProgram("sv39", seed)),
  ...SEEDS.map((seed) => pagedProgram("sv48", seed + 100)),
];
/** Digests are compared this often, so that a difference is found near its cause. */
const STRIDE = 100;

/** The digest every STRIDE positions up to the program's length; `advance` runs to each. */
function trail(program: Program, machine: Machine, advance: (to: number) => void): string[] {
  const digests: string[] = [];
  for (let at = STRIDE; at <= program.length; at += STRIDE) {
    advance(at);
    digests.push(machine.digest());
  }
  return digests;
}

describe.each(PROGRAMS)("$name", (program) => {
  const whole = boot(program);
  const expected = trail(program, whole, (to) => void runTo(whole, to));
  const end = fingerprint(whole);
  const outputs = outputText(whole.takeOutputs());

  test("[MA3] emptied at every position", () => {
    const machine = boot(program);
    const seen = trail(program, machine, (to) => {
      for (let at = Number(machine.position) + 1; at <= to; at++) {
        machine.dropCaches();
        runTo(machine, at);
      }
    });
    expect(seen).toEqual(expected);
    expect(fingerprint(machine)).toEqual(end);
    expect(outputText(machine.takeOutputs())).toBe(outputs);
  });

  test("[MA3] cut at every position, never emptied", () => {
    const machine = boot(program);
    const seen = trail(program, machine, (to) => {
      for (let at = Number(machine.position) + 1; at <= to; at++) runTo(machine, at);
    });
    expect(seen).toEqual(expected);
  });

  test("[MA3] emptied at random positions", () => {
    const random = new Prng(0x7e57);
    const machine = boot(program);
    const seen = trail(program, machine, (to) => {
      for (let at = Number(machine.position); at < to; ) {
        at = Math.min(to, at + 1 + random.below(40));
        runTo(machine, at);
        if (random.oneIn(2)) machine.dropCaches();
      }
    });
    expect(seen).toEqual(expected);
  });

  test("[MA3] restored with empty caches at random positions", () => {
    const random = new Prng(0x7e58);
    let machine = boot(program);
    const spare = boot(program);
    const seen: string[] = [];
    for (let at = STRIDE; at <= program.length; at += STRIDE) {
      runTo(machine, at - random.below(STRIDE));
      const now = snapshot(machine);
      machine = random.oneIn(2) ? fresh(program, now) : restore(spare, now);
      runTo(machine, at);
      seen.push(machine.digest());
    }
    expect(seen).toEqual(expected);
    expect(fingerprint(machine)).toEqual(end);
  });
});

test("[MA3] more code than is kept predecoded runs as any other", () => {
  const { program, end } = manyPages();
  const machine = boot(program);
  runTo(machine, program.length);
  expect(machine.pc).toBe(end);
  expect(machine.save().hart).toMatchObject({ traps: 0n });
});
