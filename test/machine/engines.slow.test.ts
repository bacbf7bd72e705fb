/**
 * In which tier code runs, and when it is translated, is invisible: random programs from many
 * seeds. DEJAVM_SEEDS=60 says how many, DEJAVM_FIRST_SEED=100 from where.
 */
import { expect, test } from "vitest";
import { compareEngines, programsOf } from "./support/engines.ts";

const FIRST = Number(process.env.DEJAVM_FIRST_SEED ?? 100);
const COUNT = Number(process.env.DEJAVM_SEEDS ?? 8);
const SEEDS = Array.from({ length: COUNT }, (_, index) => FIRST + index);

test.each(SEEDS)("[EN1] seed %i", (seed) => {
  for (const program of programsOf(seed)) {
    const found = compareEngines(program, { seed, length: 10_000, stride: 2500 });
    expect(found, program.name).toBeUndefined();
  }
});
