/** A minimal RISC-V program as an ELF file. */

const HEADER_BYTES = 64;
const SEGMENT_BYTES = 56;

/** A program that jumps to itself for ever, at `address`, with `data` behind it. */
export function loopForEver(
  address = 0x8000_0000n,
  data: Uint8Array = new Uint8Array(60),
): Uint8Array {
  const start = HEADER_BYTES + SEGMENT_BYTES;
  const bytes = new Uint8Array(start + 4 + data.length);
  const view = new DataView(bytes.buffer);
  bytes.set([0x7f, 0x45, 0x4c, 0x46, 2, 1, 1]);
  view.setUint16(16, 2, true);
  view.setUint16(18, 243, true);
  view.setUint32(20, 1, true);
  view.setBigUint64(24, address, true);
  view.setBigUint64(32, BigInt(HEADER_BYTES), true);
  view.setUint16(52, HEADER_BYTES, true);
  view.setUint16(54, SEGMENT_BYTES, true);
  view.setUint16(56, 1, true);
  view.setUint32(64, 1, true);
  view.setUint32(68, 7, true);
  view.setBigUint64(72, BigInt(start), true);
  view.setBigUint64(80, address, true);
  view.setBigUint64(88, address, true);
  const size = BigInt(bytes.length - start);
  view.setBigUint64(96, size, true);
  view.setBigUint64(104, size, true);
  view.setUint32(start, 0x0000_006f, true);
  bytes.set(data, start + 4);
  return bytes;
}
