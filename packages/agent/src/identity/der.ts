/**
 * The few forms of ASN.1's distinguished encoding (X.690) that a certificate needs. Each function
 * gives one complete value: tag, length, contents.
 */

/** A value with that tag around `contents`. */
function tagged(tag: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, { length: part }) => sum + part, 0);
  return Buffer.concat([Uint8Array.of(tag), encodeLength(length), ...contents]);
}

/** SEQUENCE. */
export function sequence(...items: readonly Uint8Array[]): Uint8Array {
  return tagged(0x30, ...items);
}

/** SET; the caller has one item, or has them in order. */
export function set(...items: readonly Uint8Array[]): Uint8Array {
  return tagged(0x31, ...items);
}

/** INTEGER, not negative, from its big-endian bytes. */
export function integer(bytes: Uint8Array): Uint8Array {
  const start = bytes.findIndex((byte) => byte !== 0);
  const digits = start < 0 ? Uint8Array.of(0) : bytes.subarray(start);
  const negative = ((digits[0] ?? 0) & 0x80) !== 0;
  return tagged(0x02, negative ? Uint8Array.of(0) : new Uint8Array(0), digits);
}

/** OBJECT IDENTIFIER from its dotted form. */
export function objectId(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  return tagged(0x06, Uint8Array.from([first * 40 + second, ...rest.flatMap(base128)]));
}

/** UTF8String. */
export function utf8(text: string): Uint8Array {
  return tagged(0x0c, new TextEncoder().encode(text));
}

/** BIT STRING of whole bytes. */
export function bitString(bytes: Uint8Array): Uint8Array {
  return tagged(0x03, Uint8Array.of(0), bytes);
}

/** GeneralizedTime, `YYYYMMDDHHMMSSZ`. */
export function generalizedTime(text: string): Uint8Array {
  return tagged(0x18, new TextEncoder().encode(text));
}

/** UTCTime, `YYMMDDHHMMSSZ`. */
export function utcTime(text: string): Uint8Array {
  return tagged(0x17, new TextEncoder().encode(text));
}

/** `[number] EXPLICIT`. */
export function explicit(number: number, item: Uint8Array): Uint8Array {
  return tagged(0xa0 + number, item);
}

function encodeLength(length: number): Uint8Array {
  if (length < 0x80) return Uint8Array.of(length);
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest % 256);
  return Uint8Array.from([0x80 + bytes.length, ...bytes]);
}

function base128(value: number): number[] {
  const bytes = [value % 128];
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) {
    bytes.unshift(128 + (rest % 128));
  }
  return bytes;
}
