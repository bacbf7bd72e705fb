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

/**
 * The same where a message may take several buffers: as many as it needs, and undefined for one
 * that would take more than the whole queue has.
 */
export function assignMergedBuffers(
  scan: QueueScan,
  sizes: readonly number[],
  queueSize: number,
): (readonly Chain[] | undefined)[] {
  const assigned: (readonly Chain[] | undefined)[] = [];
  let chains: Chain[] = [];
  let room = 0;
  for (const size of sizes) {
    while (room < size && chains.length < queueSize) {
      const chain = scan.next();
      if (chain === undefined) return assigned;
      chains.push(chain);
      room += chain.writable.byteLength;
    }
    if (room < size) {
      assigned.push(undefined);
      continue;
    }
    assigned.push(chains);
    chains = [];
    room = 0;
  }
  return assigned;
}
