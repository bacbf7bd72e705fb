/**
 * The Internet checksum (RFC 1071): the ones' complement sum of 16-bit words. Sums are kept as
 * plain integers and folded at the end; long runs are added 32 bits at a time in the host's own
 * byte order and turned once, which RFC 1071 section 2(B) allows.
 */

/** Below this many bytes the view for adding words costs more than it saves. */
const SHORT_BYTES = 96;
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
/** Words of 32 bits that may be added before the halves, below 2^30 then, are folded. */
const WORDS_PER_FOLD = 16_384;

/** Adds the bytes `start .. end-1`, as big-endian words, an odd last byte as its high half. */
export function sumBytes(bytes: Uint8Array, start: number, end: number, sum = 0): number {
  const count = end - start;
  const address = bytes.byteOffset + start;
  if (count < SHORT_BYTES || (address & 1) === 1) return sumShort(bytes, start, end, sum);
  // To a 4-byte boundary, then words, then the rest.
  const head = address & 2;
  const words = (count - head) >>> 2;
  const view = new Uint32Array(bytes.buffer, address + head, words);
  const rest = start + head + words * 4;
  let total = sumShort(bytes, start, start + head, sum);
  for (let from = 0; from < words; from += WORDS_PER_FOLD) {
    total += hostOrder(sumWords(view, from, Math.min(words, from + WORDS_PER_FOLD)));
  }
  return sumShort(bytes, rest, end, total);
}

/** Folds a sum to its 16-bit ones' complement: what stands in a header. */
export function finishSum(sum: number): number {
  return ~foldSum(sum) & 0xffff;
}

/** Whether data that includes its own checksum adds up. */
export function sumIsRight(sum: number): boolean {
  return foldSum(sum) === 0xffff;
}

/** The part of a TCP or UDP sum that comes from the IPv4 header (RFC 9293, section 3.1). */
export function pseudoSum(
  { source, target }: { readonly source: number; readonly target: number },
  protocol: number,
  bytes: number,
): number {
  const addresses = (source >>> 16) + (source & 0xffff) + (target >>> 16) + (target & 0xffff);
  return addresses + protocol + bytes;
}

function foldSum(sum: number): number {
  // Sums of whole frames stay below 2^31.
  let folded = sum;
  while (folded > 0xffff) folded = (folded & 0xffff) + (folded >>> 16);
  return folded;
}

function sumShort(bytes: Uint8Array, start: number, end: number, sum: number): number {
  let total = sum;
  let at = start;
  for (; at + 1 < end; at += 2) total += ((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0);
  if (at < end) total += (bytes[at] ?? 0) << 8;
  return total;
}

function sumWords(words: Uint32Array, from: number, to: number): number {
  let low = 0;
  let high = 0;
  for (let i = from; i < to; i++) {
    const word = words[i] ?? 0;
    low += word & 0xffff;
    high += word >>> 16;
  }
  return foldSum(foldSum(low) + foldSum(high));
}

function hostOrder(folded: number): number {
  return LITTLE_ENDIAN ? ((folded & 0xff) << 8) | (folded >>> 8) : folded;
}
