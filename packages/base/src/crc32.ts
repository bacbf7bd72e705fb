/** CRC-32 as in IEEE 802.3, zlib and Python's binascii, four bytes at a time. */

const POLYNOMIAL = 0xedb88320;
/** Table `n` holds what a byte contributes once `n` more bytes have passed. */
const TABLES = 4;

const TABLE = new Uint32Array(TABLES * 256);
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
  const look = (table: number, byte: number): number => TABLE[table * 256 + (byte & 0xff)] ?? 0;
  let crc = 0xffffffff;
  let at = 0;
  for (const whole = bytes.length & ~3; at < whole; at += 4) {
    crc =
      look(3, crc ^ (bytes[at] ?? 0)) ^
      look(2, (crc >>> 8) ^ (bytes[at + 1] ?? 0)) ^
      look(1, (crc >>> 16) ^ (bytes[at + 2] ?? 0)) ^
      look(0, (crc >>> 24) ^ (bytes[at + 3] ?? 0));
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ look(0, crc ^ (bytes[at] ?? 0));
  return (crc ^ 0xffffffff) >>> 0;
}
