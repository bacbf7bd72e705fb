/**
 * Options of V8 for a process in which threads hand each other buffers of 256 KiB. V8 counts those
 * as part of each thread's heap, which is small beside them: it would mark all of it every few
 * megabytes, a third of a migration's CPU time.
 */
import { setFlagsFromString } from "node:v8";

/** A heap may grow to so much more than what it holds, in percent, before it is marked again. */
const GROWING_PERCENT = 400;
/** Of short-lived objects, in MiB: from the beginning what V8 would make of it after a while. */
const YOUNG_MIB = 8;

/** To be called before other threads are started. */
export function setHeapFlags(): void {
  setFlagsFromString(`--heap-growing-percent=${GROWING_PERCENT}`);
  setFlagsFromString(`--min-semi-space-size=${YOUNG_MIB}`);
}
