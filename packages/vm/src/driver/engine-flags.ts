/** Options of V8 that make generated code faster. They change no result. */
import { readFileSync } from "node:fs";
import { setFlagsFromString } from "node:v8";
import { createMemory } from "@dejavm/machine";

/** A 32-bit index and a 32-bit offset reach this far at most. */
const REACH_BYTES = 2 ** 33;

/**
 * Sets them. To be called before the first machine is made in this process; the other threads of
 * the process follow.
 */
export function setEngineFlags(): void {
  setFlagsFromString("--experimental-wasm-branch-hinting");
  // Where a memory is followed by as much unmapped address space as an address can reach, V8 adds
  // no checks to accesses, but keeps each as something that may trap: it loads what it compares or
  // extends twice. All addresses that we generate lie in the memory; one that did not would end the
  // process instead of the machine's thread.
  if (hasGuardRegions()) setFlagsFromString("--no-wasm-bounds-checks");
}

/** Whether V8 reserves the whole reach of an address for each memory: told by what one adds. */
function hasGuardRegions(): boolean {
  const before = reservedBytes();
  const { buffer } = createMemory(1);
  return reservedBytes() - before >= REACH_BYTES && buffer.byteLength > 0;
}

/** Address space of this process; 0 where the host does not tell. */
function reservedBytes(): number {
  try {
    const [, kib] = /^VmSize:\s*(\d+) kB$/m.exec(readFileSync("/proc/self/status", "utf8")) ?? [];
    return Number(kib ?? 0) * 1024;
  } catch {
    return 0;
  }
}
