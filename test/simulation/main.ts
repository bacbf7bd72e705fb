/**
 * `pnpm sim --seed N`: replays one simulation; `--count M` runs as many from there on; with
 * `--mischief KIND` one host does that harm in each of them, with `none` in none.
 */
import { parseArgs } from "node:util";
import { MISCHIEF } from "./mischief.ts";
import { Simulation } from "./simulation.ts";

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    count: { type: "string", default: "1" },
    mischief: { type: "string" },
  },
});
const mischief = ([...MISCHIEF, "none"] as const).find((kind) => kind === values.mischief);
if (values.mischief !== undefined && mischief === undefined) {
  throw new Error(`--mischief ${values.mischief}: want ${MISCHIEF.join(", ")} or none`);
}
const first = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
let failed = 0;
const tally = new Map<string, number>();
for (let seed = first; seed < first + Number(values.count); seed++) {
  const simulation = new Simulation(seed, mischief === undefined ? {} : { mischief });
  try {
    const result = simulation.run();
    for (const outcome of result.outcomes) tally.set(outcome, (tally.get(outcome) ?? 0) + 1);
    if (values.count === "1") console.log(JSON.stringify(result, null, 2));
  } catch (error) {
    failed++;
    const message =
      error instanceof Error ? (values.count === "1" ? error.stack : error.message) : String(error);
    console.log(`seed ${seed}: ${message}\n  ${simulation.story}`);
  }
}
console.log(`${values.count} simulations from seed ${first}, ${failed} failed`);
console.log(
  [...tally]
    .toSorted((a, b) => b[1] - a[1])
    .map(([k, n]) => `${n} ${k}`)
    .join("\n"),
);
process.exitCode = failed === 0 ? 0 : 1;
