/** Sequence numbers: 32 bits, compared by distance (RFC 9293, section 3.4). */

/** `a` - `b` as a signed distance: negative if `a` is before `b`. */
export function seqDiff(a: number, b: number): number {
  return (a - b) | 0;
}

/** `a` moved on by `count`. */
export function seqAdd(a: number, count: number): number {
  return (a + count) >>> 0;
}
