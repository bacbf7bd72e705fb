/**
 * `State` trees as bytes and back. One value has exactly one encoding: fields are sorted,
 * integers minimal. The decoder checks every length against what is left, and depth and number of
 * values against limits, before it makes anything. docs/SNAPSHOT_FORMAT.md has the layout.
 */
import { assert, ByteReader, ByteWriter } from "@dejavm/base";
import type { State, StateValue } from "../device/device.ts";
import { corrupt } from "./errors.ts";

/** Levels of lists and objects, the outermost included. Real trees have five. */
export const MAX_STATE_DEPTH = 16;
/** Values in one tree, lists and objects included: a disk of 64 GiB has 2^20 chunks. */
const MAX_STATE_VALUES = 4 * 1024 * 1024;
/** Bytes of one encoded tree. */
export const MAX_STATE_BYTES = 64 * 1024 * 1024;
/** Bytes of the largest integer's magnitude: 256 bits. */
const MAX_INTEGER_BYTES = 32;

const FIELD_NAME = /^[a-zA-Z][a-zA-Z0-9_.-]{0,63}$/;

const tag = {
  false: 0x00,
  true: 0x01,
  number: 0x02,
  natural: 0x03,
  negative: 0x04,
  string: 0x05,
  bytes: 0x06,
  list: 0x07,
  object: 0x08,
} as const;

// Every host has these two; the language's own type library does not name them.
declare const TextEncoder: { new (): { encode(text: string): Uint8Array } };
declare const TextDecoder: {
  new (
    label: "utf-8",
    options: { fatal: boolean; ignoreBOM: boolean },
  ): { decode(bytes: Uint8Array): string };
};

const utf8Encoder = new TextEncoder();
const utf8Decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** The one encoding of `state`. Asserts that it stays within the limits. */
export function encodeState(state: State): Uint8Array {
  const out = new ByteWriter(4096);
  const budget = { values: MAX_STATE_VALUES };
  encodeValue(out, state, 1, budget);
  assert(out.length <= MAX_STATE_BYTES, `state takes ${out.length} bytes`);
  return out.finish();
}

/** What `encodeState` was given; everything else is E_SNAPSHOT_CORRUPT. */
export function decodeState(bytes: Uint8Array): State {
  if (bytes.length > MAX_STATE_BYTES) {
    throw corrupt(`state takes ${bytes.length} bytes, want at most ${MAX_STATE_BYTES}`);
  }
  const reader = new ByteReader(bytes, (detail) => corrupt(`state: ${detail}`));
  const first = reader.u8();
  if (first !== tag.object) throw corrupt(`state begins with tag ${first}, want an object`);
  const state = decodeObject(reader, 1, { values: MAX_STATE_VALUES - 1 });
  if (reader.remaining > 0) throw corrupt(`state is followed by ${reader.remaining} bytes`);
  return state;
}

/** What may still be read or written of MAX_STATE_VALUES. */
interface Budget {
  values: number;
}

function encodeValue(out: ByteWriter, value: StateValue, depth: number, budget: Budget): void {
  assert(budget.values-- > 0, "state has too many values");
  if (typeof value === "boolean") {
    out.u8(value ? tag.true : tag.false);
  } else if (typeof value === "number") {
    assert(Number.isFinite(value), `state holds the number ${value}`);
    out.u8(tag.number).f64(value === 0 ? 0 : value);
  } else if (typeof value === "bigint") {
    encodeInteger(out, value);
  } else if (typeof value === "string") {
    const bytes = utf8Encoder.encode(value);
    out.u8(tag.string).u32(bytes.length).bytes(bytes);
  } else if (value instanceof Uint8Array) {
    out.u8(tag.bytes).u32(value.length).bytes(value);
  } else {
    assert(depth <= MAX_STATE_DEPTH, "state is too deep");
    if (isList(value)) {
      out.u8(tag.list).u32(value.length);
      for (const item of value) encodeValue(out, item, depth + 1, budget);
    } else {
      encodeObject(out, value, depth, budget);
    }
  }
}

function isList(value: readonly StateValue[] | State): value is readonly StateValue[] {
  return Array.isArray(value);
}

function encodeObject(out: ByteWriter, value: State, depth: number, budget: Budget): void {
  const names = Object.keys(value).sort();
  out.u8(tag.object).u32(names.length);
  for (const name of names) {
    const field = value[name];
    assert(field !== undefined, `state has the field ${name} without a value`);
    out.bytes(encodedName(name));
    encodeValue(out, field, depth + 1, budget);
  }
}

/** Lengths and bytes of names met before: there are few, and each digest encodes all of them. */
const encodedNames = new Map<string, Uint8Array>();
const MAX_ENCODED_NAMES = 4096;

function encodedName(name: string): Uint8Array {
  const known = encodedNames.get(name);
  if (known !== undefined) return known;
  assert(FIELD_NAME.test(name), `state has a field named ${JSON.stringify(name)}`);
  const encoded = Uint8Array.of(name.length, ...utf8Encoder.encode(name));
  if (encodedNames.size < MAX_ENCODED_NAMES) encodedNames.set(name, encoded);
  return encoded;
}

function encodeInteger(out: ByteWriter, value: bigint): void {
  if (value >= 0n && value <= 0xffff_ffff_ffff_ffffn) {
    encodeWord(out, value);
    return;
  }
  let magnitude = value < 0n ? -value : value;
  const bytes: number[] = [];
  for (; magnitude > 0n; magnitude >>= 8n) bytes.push(Number(magnitude & 0xffn));
  assert(bytes.length <= MAX_INTEGER_BYTES, "state holds an integer of more than 256 bits");
  out.u8(value < 0n ? tag.negative : tag.natural).u8(bytes.length);
  out.bytes(Uint8Array.from(bytes));
}

/** As `encodeInteger`, for what registers hold; without arithmetic on big integers. */
function encodeWord(out: ByteWriter, value: bigint): void {
  wordView.setBigUint64(0, value, true);
  let length = 8;
  while (length > 0 && word[length - 1] === 0) length--;
  out.u8(tag.natural).u8(length).bytes(word.subarray(0, length));
}

const word = new Uint8Array(8);
const wordView = new DataView(word.buffer);

function decodeValue(reader: ByteReader, depth: number, budget: Budget): StateValue {
  if (budget.values-- <= 0) throw corrupt(`state has more than ${MAX_STATE_VALUES} values`);
  const kind = reader.u8();
  switch (kind) {
    case tag.false:
      return false;
    case tag.true:
      return true;
    case tag.number:
      return decodeNumber(reader);
    case tag.natural:
      return decodeMagnitude(reader);
    case tag.negative:
      return decodeNegative(reader);
    case tag.string:
      return decodeText(reader.bytes(reader.u32()));
    case tag.bytes:
      // Not `slice`, which gives a view if the input is a Node.js Buffer.
      return new Uint8Array(reader.bytes(reader.u32()));
    case tag.list:
      return decodeList(reader, depth, budget);
    case tag.object:
      return decodeObject(reader, depth, budget);
    default:
      throw corrupt(`state has the unknown tag ${kind} at offset ${reader.offset - 1}`);
  }
}

function decodeNumber(reader: ByteReader): number {
  const value = reader.f64();
  if (!Number.isFinite(value) || Object.is(value, -0)) {
    throw corrupt(`state holds the number ${value}`);
  }
  return value;
}

function decodeMagnitude(reader: ByteReader): bigint {
  const length = reader.u8();
  if (length > MAX_INTEGER_BYTES) throw corrupt(`state holds an integer of ${length} bytes`);
  const bytes = reader.bytes(length);
  if (length > 0 && bytes[length - 1] === 0) throw corrupt("state holds a padded integer");
  let value = 0n;
  for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i] ?? 0);
  return value;
}

function decodeNegative(reader: ByteReader): bigint {
  const magnitude = decodeMagnitude(reader);
  if (magnitude === 0n) throw corrupt("state holds a negative zero");
  return -magnitude;
}

function decodeText(bytes: Uint8Array): string {
  try {
    return utf8Decoder.decode(bytes);
  } catch (cause) {
    throw corrupt("state holds text that is not UTF-8", cause);
  }
}

function decodeList(reader: ByteReader, depth: number, budget: Budget): StateValue[] {
  const count = decodeCount(reader, depth, 1, budget);
  const items: StateValue[] = [];
  for (let i = 0; i < count; i++) items.push(decodeValue(reader, depth + 1, budget));
  return items;
}

function decodeObject(reader: ByteReader, depth: number, budget: Budget): State {
  const count = decodeCount(reader, depth, 3, budget);
  const fields: { [field: string]: StateValue } = {};
  let last = "";
  for (let i = 0; i < count; i++) {
    const name = decodeText(reader.bytes(reader.u8()));
    if (!FIELD_NAME.test(name)) throw corrupt(`state has a field named ${JSON.stringify(name)}`);
    if (i > 0 && name <= last) throw corrupt(`state has field ${name} after ${last}`);
    last = name;
    fields[name] = decodeValue(reader, depth + 1, budget);
  }
  return fields;
}

/** Reads a count of things that take at least `leastBytes` each, so it cannot exceed the input. */
function decodeCount(
  reader: ByteReader,
  depth: number,
  leastBytes: number,
  budget: Budget,
): number {
  if (depth > MAX_STATE_DEPTH) throw corrupt(`state is deeper than ${MAX_STATE_DEPTH} levels`);
  const count = reader.u32();
  if (count * leastBytes > reader.remaining || count > budget.values) {
    throw corrupt(`state has a count of ${count} with ${reader.remaining} bytes left`);
  }
  return count;
}
