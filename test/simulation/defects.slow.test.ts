/** Hosts that break a rule on purpose: the simulation notices each of them. */
import { describe, expect, test } from "vitest";
import { MISCHIEF, type MischiefKind } from "./mischief.ts";
import type { Defect } from "./sim-types.ts";
import { Simulation, type SimulationOptions } from "./simulation.ts";

/** Lives after which a broken rule must have shown. */
const MOST = 60;

/** Each rule, what the peer has to do for it to matter, and how it shows. */
const DEFECTS: readonly (readonly [Defect, MischiefKind | "none", RegExp])[] = [
  ["offers without a record", "none", /two live machines|in the end|does not end/u],
  ["goes live without a record", "none", /record says|two live/u],
  ["runs on after the commitment", "none", /two live/u],
  ["guesses who owns it", "none", /two live/u],
  ["loses the end of the trace", "none", /lost|twice|out of order/u],
  ["lets outputs out early", "none", /lost|twice|out of order/u],
  ["takes inputs twice", "none", /twice/u],
  ["compares no digests", "none", /not the one that left/u],
  ["takes any offer", "offers", /record says|in the end|epochs fall/u],
  ["believes anybody", "claims", /in the end|epochs fall/u],
  ["stands still after nonsense", "garbage", /0 live machines/u],
  ["holds without a bound", "flood", /holds \d+ bytes/u],
];

describe("a broken rule shows", () => {
  test.for(DEFECTS)("[SI2] a host that %s (%s)", ([defect, mischief, shows]) => {
    let found = "";
    for (let seed = 1; found === "" && seed <= MOST; seed++) {
      found = failure(seed, { defect, mischief });
    }
    expect(found).toMatch(shows);
  });

  // Mostly it shows before the peer turns hostile; here only what shows after that counts.
  test("[SI2] a host that takes inputs twice, beside a peer that says them many times", () => {
    const defect = { defect: "takes inputs twice", mischief: "flood" } as const;
    const isShown = (seed: number): boolean => failure(seed, defect).includes("than it was given");
    expect(Array.from({ length: MOST }, (_, i) => i + 1).some(isShown)).toBe(true);
  });
});

/** What is found in a life; empty: nothing. */
function failure(seed: number, options: SimulationOptions): string {
  try {
    new Simulation(seed, options).run();
    return "";
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

describe("an honest host beside a hostile one", () => {
  test.for(MISCHIEF)("[SI3] whose peer does this: %s", (mischief) => {
    const first = Math.floor(Math.random() * 2 ** 31);
    console.log(`pnpm sim --seed ${first} --count 3 --mischief ${mischief}`);
    for (let seed = first; seed < first + 3; seed++) new Simulation(seed, { mischief }).run();
  });
});
