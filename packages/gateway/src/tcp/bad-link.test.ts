/** The whole TCP against a model guest over a link that loses, repeats, reorders and damages. */
import { randomInt } from "node:crypto";
import { describe, expect, test } from "vitest";
import { runBadLink } from "../test-support/bad-link.ts";

/** Runs in the fast tests; DEJAVM_SOAK_SEEDS asks for more. */
const SEEDS = Number(process.env.DEJAVM_SOAK_SEEDS ?? 200);
const FIRST_SEED = Number(process.env.DEJAVM_SEED ?? randomInt(2 ** 31));

/** A seed takes a hundredth of that on a quiet host. */
const TIMEOUT_MS = 60_000 + SEEDS * 1000;

/** Seeds that once failed. */
const KNOWN_SEEDS: readonly number[] = [
  1_975_072_579, 1_975_076_676, 1_975_077_040, 1_975_086_593, 1_037_246_549,
];

describe("bad link", { timeout: TIMEOUT_MS }, () => {
  test(`[NE1] every byte stream arrives intact: ${SEEDS} seeds from ${FIRST_SEED}`, () => {
    let retransmits = 0;
    const failures: string[] = [];
    for (let seed = FIRST_SEED; seed < FIRST_SEED + SEEDS; seed++) {
      const { problems, metrics } = runBadLink(seed);
      retransmits += metrics.tcpRetransmits;
      if (problems.length > 0) failures.push(`seed ${seed}: ${problems.join("; ")}`);
    }
    expect(failures).toEqual([]);
    expect(retransmits).toBeGreaterThan(SEEDS / 10);
  });

  test.each(KNOWN_SEEDS)("[NE1] seed %i", (seed) => {
    expect(runBadLink(seed).problems).toEqual([]);
  });
});
