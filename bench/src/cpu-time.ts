/** CPU time of another process, all its threads together. */
import { readdirSync, readFileSync } from "node:fs";

/** Seconds on a CPU, user and system, from the scheduler's own nanosecond counters. */
export function cpuSecondsOf(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      const text = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8");
      nanoseconds += Number(text.split(" ")[0]);
    } catch {
      // The thread has just ended; what it did is below a millisecond.
    }
  }
  return nanoseconds / 1e9;
}

/**
 * The same, threads that have ended included; to the hundredth of a second (`proc(5)`, stat: utime
 * and stime in clock ticks, of which Linux has a hundred a second).
 */
export function wholeCpuSecondsOf(pid: number): number {
  const text = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The name before, in parentheses, may hold anything.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / 100;
}
