/**
 * IPv4 addresses as unsigned 32-bit numbers, and ranges of them. Host names are not addresses: they
 * are resolved before anything gets here.
 */

/** Gives the number of a dotted address, or undefined where `text` is none. */
export function parseAddress(text: string): number | undefined {
  const match = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (match === null) return undefined;
  let value = 0;
  for (const part of match.slice(1)) {
    const byte = Number(part);
    if (byte > 255) return undefined;
    value = value * 256 + byte;
  }
  return value;
}

/** `a.b.c.d` as a number; for constants in this program's own text. */
export function address(text: string): number {
  return parseAddress(text) ?? Number.NaN;
}

/** The dotted text of an address. */
export function formatAddress(value: number): string {
  return `${value >>> 24}.${(value >>> 16) & 255}.${(value >>> 8) & 255}.${value & 255}`;
}

/** Addresses with a common prefix. */
export interface AddressRange {
  readonly base: number;
  /** 0 .. 32. */
  readonly prefixBits: number;
}

/** Gives the range of `a.b.c.d` or `a.b.c.d/bits`, or undefined. Bits below the prefix are 0. */
export function parseRange(text: string): AddressRange | undefined {
  const [head = "", bits, ...more] = text.split("/");
  const base = parseAddress(head);
  if (base === undefined || more.length > 0) return undefined;
  if (bits === undefined) return { base, prefixBits: 32 };
  if (!/^\d{1,2}$/.test(bits) || Number(bits) > 32) return undefined;
  const prefixBits = Number(bits);
  return { base: (base & prefixMask(prefixBits)) >>> 0, prefixBits };
}

/** Whether `value` lies in `range`. */
export function inRange(value: number, range: AddressRange): boolean {
  return ((value ^ range.base) & prefixMask(range.prefixBits)) === 0;
}

function prefixMask(bits: number): number {
  return bits === 0 ? 0 : -1 << (32 - bits);
}

/** Whether `text` is a dotted IPv4 address. */
export function isIpv4(text: string): boolean {
  return parseAddress(text) !== undefined;
}
