/** How messages to the driver find the buffers that it posted. */
import type { Chain } from "./chain.ts";
import type { QueueScan } from "./queue.ts";

/**
 * Takes a posted buffer for each message, in order, as far as the buffers go. `sizes` are the
 * messages' lengths in bytes. The result has an entry for every message that is settled: its
 * buffer, or undefined if the next buffer is too small for it; that buffer serves the message
 * after it.
 */
export function assignBuffers(scan: QueueScan, sizes: readonly number[]): (Chain | undefined)[] {
  const assigned: (Chain | undefined)[] = [];
  let chain: Chain | undefined;
  for (const size of sizes) {
    chain ??= scan.next();
    if (chain === undefined) break;
    if (size > chain.writable.byteLength) {
      assigned.push(undefined);
      continue;
    }
    assigned.push(chain);
    chain = undefined;
  }
  return assigned;
}
