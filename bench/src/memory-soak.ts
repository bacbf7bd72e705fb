/**
 * Whether the memory for translated code stays within bounds: a Debian guest runs the benchmark's
 * programs in turn for some minutes of its own time.
 *
 *     tools/run node --conditions=source bench/src/memory-soak.ts [MINUTES]
 *
 * Prints a line per program: guest seconds, memory of the process, code kept, evictions. Ends with
 * status 1 where the process has grown by more than GROWTH_LIMIT since the first turn.
 */
import { setEngineFlags } from "@dejavm/vm";
import { type SoakSample, soak } from "./soak.ts";

/** Factor by which the process may grow once every program has run. */
const GROWTH_LIMIT = 1.5;

function line(sample: SoakSample): string {
  const figures = [
    `${sample.guestSeconds.toFixed(0)} s`,
    `${(sample.residentBytes / 2 ** 20).toFixed(0)} MiB resident`,
    `${(sample.codeBytes / 1024).toFixed(0)} KiB code`,
    `${sample.regions} regions`,
    `${sample.evictions} evictions`,
  ];
  return `${sample.program}: ${figures.join(", ")}\n`;
}

const minutes = Number(process.argv[2] ?? 10);
/** Resident bytes at the end of the first turn and now. */
const resident = { first: 0, last: 0 };
setEngineFlags();
await soak({
  programs: ["python3", "gzip", "sqlite3", "shell", "fork"],
  goesOn: (_, seconds) => seconds < minutes * 60,
  sampled: (sample, turn) => {
    process.stdout.write(line(sample));
    resident.last = sample.residentBytes;
    if (turn === 0) resident.first = sample.residentBytes;
  },
});
process.exitCode = resident.last > resident.first * GROWTH_LIMIT ? 1 : 0;
