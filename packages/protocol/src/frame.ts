/**
 * One WebSocket message = one frame: a kind, for most a sequence number, a body. Little-endian.
 *
 *     +------+----------+--------------------------------------------+
 *     | u8   | u32      |                                            |
 *     | kind | sequence | body                                       |
 *     +------+----------+--------------------------------------------+
 *       0x01    -         hello: MessagePack
 *       0x02    -         ack: u32 next sequence number wanted
 *       0x03    -         ping: u32 token
 *       0x04    -         pong: u32 token
 *       0x10    n         control message: MessagePack
 *       0x11    n         trace segment, as the trace package sealed it
 *       0x20 .. 0x26 n    bulk message (bulk.ts)
 */
import { assert, ByteReader, ByteWriter, unreachable } from "@dejavm/base";
import { Packr } from "msgpackr";
import * as z from "zod/mini";
import { type BulkMessage, bulkBodyBytes, decodeBulk, writeBulk } from "./bulk.ts";
import { protocolError } from "./errors.ts";
import {
  MAX_BULK_CHANNELS,
  MAX_CONTROL_BYTES,
  MAX_FRAME_BYTES,
  MAX_HELLO_BYTES,
  MAX_NAME_CHARS,
  MAX_SEGMENT_BYTES,
} from "./limits.ts";
import { type ControlMessage, MESSAGE } from "./messages.ts";
import { scanMessagePack } from "./msgpack-scan.ts";

const SEQUENCE = z.int().check(z.gte(0), z.lt(2 ** 32));
const NAME = z.string().check(z.minLength(1), z.maxLength(MAX_NAME_CHARS));
const VERSION = z.int().check(z.gte(0), z.lt(2 ** 16));

const HELLO = z.strictObject({
  kind: z.literal("hello"),
  magic: z.literal("dejavm"),
  versions: z.strictObject({ oldest: VERSION, newest: VERSION }),
  /** What this side can do beyond the version; unknown ones are ignored. */
  capabilities: z.array(NAME).check(z.maxLength(32)),
  /** Names the agent that speaks, for people. */
  agent: NAME,
  /** Chosen at random by whoever dials first: all connections of one migration have it. */
  link: NAME,
  channel: z.int().check(z.gte(0), z.lte(MAX_BULK_CHANNELS)),
  /** The next sequence number that this side wants to hear on the channel: 0 on a new link. */
  next: SEQUENCE,
  /** Whether this side has a link of that name already. */
  known: z.boolean(),
});

/** The first message of each side on every connection. */
export type Hello = z.infer<typeof HELLO>;

/** What a channel carries, in order and once: control messages, trace segments, bulk. */
export type Message =
  | ControlMessage
  | { readonly kind: "segment"; readonly bytes: Uint8Array }
  | BulkMessage;

/** A frame. */
export type Frame =
  | Hello
  | { readonly kind: "ack"; readonly next: number }
  | { readonly kind: "ping"; readonly token: number }
  | { readonly kind: "pong"; readonly token: number }
  | { readonly kind: "message"; readonly sequence: number; readonly message: Message };

/** Bytes of a frame before a message's body. */
const MESSAGE_HEADER_BYTES = 5;

const KIND = {
  hello: 0x01,
  ack: 0x02,
  ping: 0x03,
  pong: 0x04,
  control: 0x10,
  segment: 0x11,
  "page-group": 0x20,
  "page-refs": 0x21,
  "image-refs": 0x22,
  "chunk-group": 0x23,
  "chunk-refs": 0x24,
  "zero-pages": 0x25,
  "zero-chunks": 0x26,
} as const;

const BULK_KINDS = new Map<number, BulkMessage["kind"]>([
  [KIND["page-group"], "page-group"],
  [KIND["page-refs"], "page-refs"],
  [KIND["image-refs"], "image-refs"],
  [KIND["chunk-group"], "chunk-group"],
  [KIND["chunk-refs"], "chunk-refs"],
  [KIND["zero-pages"], "zero-pages"],
  [KIND["zero-chunks"], "zero-chunks"],
]);

// Plain values only: no records, no shared structures, byte arrays as byte arrays.
const packr = new Packr({ useRecords: false, mapsAsObjects: true, int64AsType: "bigint" });

function pack(value: unknown): Uint8Array {
  // The package's types promise Node's Buffer; to us it is an array of bytes.
  const bytes: unknown = packr.pack(value);
  assert(bytes instanceof Uint8Array, "MessagePack is bytes");
  return bytes;
}

/** The bytes of a frame. */
export function encodeFrame(frame: Frame): Uint8Array {
  switch (frame.kind) {
    case "hello":
      return new ByteWriter().u8(KIND.hello).bytes(pack(frame)).finish();
    case "ack":
      return new ByteWriter(5).u8(KIND.ack).u32(frame.next).finish();
    case "ping":
      return new ByteWriter(5).u8(KIND.ping).u32(frame.token).finish();
    case "pong":
      return new ByteWriter(5).u8(KIND.pong).u32(frame.token).finish();
    case "message":
      return encodeMessage(frame.sequence, frame.message);
    default:
      return unreachable(frame);
  }
}

function encodeMessage(sequence: number, message: Message): Uint8Array {
  const begin = (kind: number, bodyBytes: number) =>
    new ByteWriter(MESSAGE_HEADER_BYTES + bodyBytes).u8(kind).u32(sequence);
  const write = (kind: number, body: Uint8Array) => begin(kind, body.length).bytes(body).end();
  switch (message.kind) {
    case "segment":
      return write(KIND.segment, message.bytes);
    case "page-group":
    case "page-refs":
    case "image-refs":
    case "chunk-group":
    case "chunk-refs":
    case "zero-pages":
    case "zero-chunks":
      return writeBulk(begin(KIND[message.kind], bulkBodyBytes(message)), message).end();
    default:
      return write(KIND.control, pack(message));
  }
}

/**
 * Reads a frame; byte arrays within are views of `bytes`. Throws E_PROTOCOL_MALFORMED for whatever
 * is no frame, and never anything else.
 */
export function decodeFrame(bytes: Uint8Array): Frame {
  if (bytes.length > MAX_FRAME_BYTES) throw malformed(`${bytes.length} bytes in one message`);
  const reader = new ByteReader(bytes, malformed);
  const kind = reader.u8();
  switch (kind) {
    case KIND.hello:
      if (bytes.length > MAX_HELLO_BYTES) throw malformed(`${bytes.length} bytes of hello`);
      return decodeValue(HELLO, bytes.subarray(1));
    case KIND.ack:
      return last(reader, { kind: "ack", next: reader.u32() });
    case KIND.ping:
      return last(reader, { kind: "ping", token: reader.u32() });
    case KIND.pong:
      return last(reader, { kind: "pong", token: reader.u32() });
    default: {
      const sequence = reader.u32();
      return {
        kind: "message",
        sequence,
        message: decodeMessage(kind, bytes.subarray(reader.offset)),
      };
    }
  }
}

function decodeMessage(kind: number, body: Uint8Array): Message {
  if (kind === KIND.control) {
    if (body.length > MAX_CONTROL_BYTES) throw malformed(`${body.length} bytes of control message`);
    return decodeValue(MESSAGE, body);
  }
  if (kind === KIND.segment) {
    if (body.length === 0 || body.length > MAX_SEGMENT_BYTES) {
      throw malformed(`${body.length} bytes of trace segment`);
    }
    return { kind: "segment", bytes: body };
  }
  const bulk = BULK_KINDS.get(kind);
  if (bulk === undefined) throw malformed(`unknown kind 0x${kind.toString(16)}`);
  return decodeBulk(bulk, body);
}

function decodeValue<Schema extends z.ZodMiniType>(
  schema: Schema,
  bytes: Uint8Array,
): z.output<Schema> {
  scanMessagePack(bytes);
  const parsed = schema.safeParse(unpack(bytes));
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0];
  const where =
    issue === undefined ? "" : ` at ${issue.path.join(".") || "its top"}: ${issue.code}`;
  throw malformed(`a control message is wrong${where}`);
}

function unpack(bytes: Uint8Array): unknown {
  try {
    return packr.unpack(bytes);
  } catch (error) {
    throw malformed(error instanceof Error ? error.message : "not MessagePack");
  }
}

function last<T>(reader: ByteReader, frame: T): T {
  if (reader.remaining !== 0) throw malformed(`${reader.remaining} bytes too many`);
  return frame;
}

function malformed(detail: string): Error {
  return protocolError("E_PROTOCOL_MALFORMED", `cannot read a message: ${detail}`);
}
