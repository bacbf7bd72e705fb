/** Two hosts, both sessions, faults: five hundred fresh seeds. */
import { expect, test } from "vitest";
import { Simulation } from "./simulation.ts";

const COUNT = 500;

test(`[SI1] ${COUNT} fresh seeds: one live machine at most, nothing acknowledged lost`, () => {
  const first = Math.floor(Math.random() * 2 ** 31);
  console.log(`simulations from seed ${first}: pnpm sim --seed ${first} --count ${COUNT}`);
  let moves = 0;
  for (let seed = first; seed < first + COUNT; seed++) {
    try {
      moves += new Simulation(seed).run().moves;
    } catch (cause) {
      throw new Error(`seed ${seed} fails: pnpm sim --seed ${seed}`, { cause });
    }
  }
  expect(moves).toBeGreaterThan(COUNT);
});
