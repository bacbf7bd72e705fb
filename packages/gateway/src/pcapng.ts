/**
 * Packet captures in the pcapng format (draft-ietf-opsawg-pcapng, sections 4.1 to 4.3),
 * little-endian, one Ethernet interface, times in microseconds.
 */
import { ByteWriter } from "@dejavm/base";

const BLOCK = { Section: 0x0a0d_0d0a, Interface: 1, EnhancedPacket: 6 } as const;
const BYTE_ORDER_MAGIC = 0x1a2b_3c4d;
const VERSION_MAJOR = 1;
const UNKNOWN_LENGTH = 0xffff_ffff_ffff_ffffn;
const LINK_TYPE_ETHERNET = 1;
const OPTION_END = 0;
const OPTION_COMMENT = 1;
const OPTION_FLAGS = 2;
const OPTION_NAME = 2;
/** Bits 0 and 1 of a packet's flags. */
const DIRECTION = { toGuest: 1, fromGuest: 2 } as const;

/** What a capture file begins with. */
export function captureHeader(): Uint8Array {
  const section = new ByteWriter().u32(BYTE_ORDER_MAGIC).u16(VERSION_MAJOR).u16(0);
  section.u64(UNKNOWN_LENGTH);
  const link = new ByteWriter().u16(LINK_TYPE_ETHERNET).u16(0).u32(0);
  option(link, OPTION_NAME, new TextEncoder().encode("guest"));
  link.u16(OPTION_END).u16(0);
  return new ByteWriter()
    .bytes(block(BLOCK.Section, section.finish()))
    .bytes(block(BLOCK.Interface, link.finish()))
    .finish();
}

/** One frame; `microseconds` since 1970, and what a reader is to see beside it. */
export function capturedFrame(
  frame: Uint8Array,
  direction: keyof typeof DIRECTION,
  microseconds: bigint,
  comment = "",
): Uint8Array {
  const body = new ByteWriter(frame.length + 64).u32(0);
  body.u32(Number(microseconds >> 32n)).u32(Number(microseconds & 0xffff_ffffn));
  body.u32(frame.length).u32(frame.length).bytes(frame);
  pad(body, frame.length);
  if (comment !== "") option(body, OPTION_COMMENT, new TextEncoder().encode(comment));
  option(body, OPTION_FLAGS, Uint8Array.of(DIRECTION[direction], 0, 0, 0));
  body.u16(OPTION_END).u16(0);
  return block(BLOCK.EnhancedPacket, body.finish());
}

function block(type: number, body: Uint8Array): Uint8Array {
  const length = body.length + 12;
  return new ByteWriter(length).u32(type).u32(length).bytes(body).u32(length).finish();
}

function option(writer: ByteWriter, code: number, value: Uint8Array): void {
  writer.u16(code).u16(value.length).bytes(value);
  pad(writer, value.length);
}

function pad(writer: ByteWriter, length: number): void {
  for (let i = length; i % 4 !== 0; i++) writer.u8(0);
}
