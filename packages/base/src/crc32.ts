/** CRC-32 as in IEEE 802.3, zlib and Python's binascii, eight bytes at a time. */

const POLYNOMIAL = 0xedb88320;
/** Table `n` holds what a byte contributes once `n` more bytes have passed. */
const TABLES = 8;

const TABLE = new Int32Array(TABLES * 256);
for (let index = 0; index < 256; index++) {
  let value = index;
  for (let bit = 0; bit < 8; bit++) value = (value >>> 1) ^ (value & 1 ? POLYNOMIAL : 0);
  TABLE[index] = value;
}
for (let index = 256; index < TABLE.length; index++) {
  const before = TABLE[index - 256] ?? 0;
  TABLE[index] = (before >>> 8) ^ (TABLE[before & 0xff] ?? 0);
}

/** The checksum of `bytes`, an unsigned 32-bit number. */
export function crc32(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  let crc = -1;
  let at = 0;
  // Written out: a helper for the eight look-ups makes it three times slower.
  for (const whole = bytes.length & ~7; at < whole; at += 8) {
    const low = crc ^ view.getInt32(at, true);
    const high = view.getInt32(at + 4, true);
    crc =
      (TABLE[0x700 + (low & 0xff)] ?? 0) ^
      (TABLE[0x600 + ((low >>> 8) & 0xff)] ?? 0) ^
      (TABLE[0x500 + ((low >>> 16) & 0xff)] ?? 0) ^
      (TABLE[0x400 + (low >>> 24)] ?? 0) ^
      (TABLE[0x300 + (high & 0xff)] ?? 0) ^
      (TABLE[0x200 + ((high >>> 8) & 0xff)] ?? 0) ^
      (TABLE[0x100 + ((high >>> 16) & 0xff)] ?? 0) ^
      (TABLE[high >>> 24] ?? 0);
  }
  for (; at < bytes.length; at++) {
    crc = (crc >>> 8) ^ (TABLE[(crc ^ (bytes[at] ?? 0)) & 0xff] ?? 0);
  }
  return ~crc >>> 0;
}
