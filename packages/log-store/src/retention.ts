/**
 * Which checkpoints go first. The ring thins out geometrically: the older, the further apart. Then
 * the oldest go, and their trace with them. The newest never goes. Pure.
 */

/** A checkpoint of the ring: when it was made, in milliseconds; a list is oldest first. */
export interface RingEntry {
  readonly createdAtMs: number;
}

/**
 * Checkpoints that are kept at most, however small: at a distance that doubles, this many cover
 * years with several per doubling.
 */
const MAX_RING = 48;
/** Above this many, checkpoints go before trace does; it keeps a jump into the past cheap. */
const MIN_RING = 8;

/**
 * Index of the checkpoint that is missed least, or undefined if there is nothing between the
 * oldest and the newest: the one whose going leaves the smallest hole, measured by the hole's age.
 */
function leastMissed(ring: readonly RingEntry[]): number | undefined {
  const newest = ring.at(-1)?.createdAtMs ?? 0;
  let best: number | undefined;
  let bestRatio = Number.POSITIVE_INFINITY;
  for (let i = 1; i < ring.length - 1; i++) {
    const before = ring[i - 1]?.createdAtMs ?? 0;
    const after = ring[i + 1]?.createdAtMs ?? 0;
    // A clock that was set back makes nonsense of ages, but never more than that.
    const ratio = Math.max(0, after - before) / Math.max(1, newest - before);
    if (ratio >= bestRatio) continue;
    best = i;
    bestRatio = ratio;
  }
  return best;
}

/**
 * Index of the checkpoint to drop next, or undefined if all may stay. Dropping index 0 means: and
 * all trace before the next one.
 */
export function nextVictim(
  ring: readonly RingEntry[],
  bytes: number,
  maxBytes: number,
): number | undefined {
  if (ring.length > MAX_RING) return leastMissed(ring);
  if (bytes <= maxBytes || ring.length < 2) return undefined;
  return ring.length > MIN_RING ? leastMissed(ring) : 0;
}
