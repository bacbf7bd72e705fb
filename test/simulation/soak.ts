/**
 * `npm run soak`: many simulations, resumable. Progress is a small file in the state directory; run
 * it again and it goes on. `--count N` in all (default 10,000), `--restart` begins anew.
 */
import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { Simulation } from "./simulation.ts";

interface Progress {
  readonly firstSeed: number;
  readonly done: number;
  readonly failed: readonly number[];
}

const SAVE_EVERY = 20;
const { values } = parseArgs({
  options: {
    count: { type: "string", default: "10000" },
    restart: { type: "boolean", default: false },
  },
});
const state = process.env["XDG_STATE_HOME"] ?? path.join(homedir(), ".local", "state");
const file = path.join(state, "dejavm", "soak-simulation.json");

function load(): Progress {
  try {
    if (!values.restart) return JSON.parse(readFileSync(file, "utf8")) as Progress;
  } catch {
    // None yet: begin.
  }
  return { firstSeed: Math.floor(Math.random() * 2 ** 31), done: 0, failed: [] };
}

function save(progress: Progress): void {
  mkdirSync(path.dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.new`, JSON.stringify(progress), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

let progress = load();
const count = Number(values.count);
console.log(`simulations from seed ${progress.firstSeed}: ${progress.done} of ${count} done`);
while (progress.done < count) {
  const seed = progress.firstSeed + progress.done;
  let { failed } = progress;
  try {
    new Simulation(seed).run();
  } catch (error) {
    failed = [...failed, seed];
    const message = error instanceof Error ? error.message : String(error);
    console.log(`seed ${seed} fails: ${message}\n  pnpm sim --seed ${seed}`);
  }
  progress = { ...progress, done: progress.done + 1, failed };
  if (progress.done % SAVE_EVERY === 0 || progress.done === count) save(progress);
  if (progress.done % 500 === 0) console.log(`${progress.done} of ${count}`);
}
console.log(`${progress.done} simulations, ${progress.failed.length} failed`);
process.exitCode = progress.failed.length === 0 ? 0 : 1;
