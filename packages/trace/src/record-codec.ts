/**
 * Records as bytes and back; docs/TRACE_FORMAT.md draws them. Positions and idle times are coded
 * as distances from those of the record before, so a run of records starts from a `TracePlace`.
 * One record has exactly one encoding, whatever it is beside.
 */
import { assert, ByteReader, type ByteWriter, unreachable } from "@dejavm/base";
import { type ConsolePort, type InputEvent, position, ticks } from "@dejavm/machine";
import { corruptTrace } from "./errors.ts";
import { MAX_EVENT_BYTES, SEED_BYTES } from "./limits.ts";
import type { TraceEnd, TraceRecord } from "./record.ts";

/** What the next record's distances count from. */
export interface TracePlace {
  /** Of the record before. */
  readonly position: bigint;
  /** Virtual time of the last record that had one. */
  readonly ticks: bigint;
}

/** Low four bits of a record's first byte. */
const tag = {
  uart: 0,
  hvc: 1,
  agent: 2,
  frame: 3,
  clock: 4,
  entropy: 5,
  powerButton: 6,
  linkDown: 7,
  linkUp: 8,
  frontier: 9,
  digest: 10,
  end: 11,
} as const;
/** Set in the first byte where the record has a virtual time. */
const IDLE = 0x10;
const TAG_MASK = 0x0f;
const PORTS: readonly ConsolePort[] = ["uart", "hvc", "agent"];
const ENDS: readonly TraceEnd["kind"][] = ["power-off", "reset", "stopped", "moved"];
const DIGEST = /^[0-9a-f]{32}$/;
const MAX_U64 = (1n << 64n) - 1n;
/** As the machine's saved state has it. */
const MAX_STATUS = 2 ** 48;

/** Appends `record`; gives what the next one counts from. Asserts that it comes after `base`. */
export function encodeRecord(out: ByteWriter, record: TraceRecord, base: TracePlace): TracePlace {
  const { position: at, idleTicks } = record;
  const distance = at - base.position;
  assert(distance >= 0n && at <= MAX_U64, `record at ${at} after one at ${base.position}`);
  out.u8(tagOf(record) | (idleTicks === undefined ? 0 : IDLE)).uvarint(distance);
  if (idleTicks !== undefined) {
    const wait = idleTicks - base.ticks;
    assert(wait >= 0n && idleTicks <= MAX_U64, `record at time ${idleTicks} after ${base.ticks}`);
    out.uvarint(wait);
  }
  encodeContent(out, record);
  return { position: at, ticks: idleTicks ?? base.ticks };
}

function tagOf(record: TraceRecord): number {
  if (record.kind !== "input") return tag[record.kind];
  const { event } = record;
  switch (event.kind) {
    case "console":
      return tag[event.port];
    case "link":
      return event.up ? tag.linkUp : tag.linkDown;
    case "power-button":
      return tag.powerButton;
    case "frame":
    case "clock":
    case "entropy":
      return tag[event.kind];
    default:
      return unreachable(event);
  }
}

function encodeContent(out: ByteWriter, record: TraceRecord): void {
  switch (record.kind) {
    case "input":
      encodeEvent(out, record.event);
      break;
    case "frontier":
      break;
    case "digest":
      assert(DIGEST.test(record.digest), `digest ${record.digest}`);
      out
        .u64(BigInt(`0x${record.digest.slice(16)}`))
        .u64(BigInt(`0x${record.digest.slice(0, 16)}`));
      break;
    case "end":
      out.u8(ENDS.indexOf(record.end.kind));
      if (record.end.kind === "power-off") out.uvarint(record.end.status);
      break;
    default:
      unreachable(record);
  }
}

function encodeEvent(out: ByteWriter, event: InputEvent): void {
  switch (event.kind) {
    case "console":
    case "frame":
      assert(event.bytes.length <= MAX_EVENT_BYTES, `${event.bytes.length} bytes in one input`);
      out.uvarint(event.bytes.length).bytes(event.bytes);
      break;
    case "clock":
      out.uvarint(event.rate).uvarint(event.step);
      break;
    case "entropy":
      assert(event.seed.length === SEED_BYTES, `a seed of ${event.seed.length} bytes`);
      out.bytes(event.seed);
      break;
    case "power-button":
    case "link":
      break;
    default:
      unreachable(event);
  }
}

/** Reads records one by one; every fault is E_TRACE_CORRUPT. Byte strings are copies. */
export class RecordReader {
  readonly #reader: ByteReader;
  #base: TracePlace;
  #ended = false;

  constructor(bytes: Uint8Array, base: TracePlace) {
    this.#reader = new ByteReader(bytes, (detail) => corruptTrace(`record: ${detail}`));
    this.#base = base;
  }

  /** What the next record counts from. */
  get place(): TracePlace {
    return this.#base;
  }

  /** Undefined at the end of the bytes. */
  next(): TraceRecord | undefined {
    const reader = this.#reader;
    if (reader.remaining === 0) return undefined;
    if (this.#ended) throw corruptTrace("a record follows the end");
    const head = reader.u8();
    if (head > (IDLE | TAG_MASK)) throw corruptTrace(`unknown record 0x${head.toString(16)}`);
    const at = advanced(this.#base.position, reader.uvarint(), "position");
    const idle = (head & IDLE) !== 0;
    const time = idle ? advanced(this.#base.ticks, reader.uvarint(), "time") : this.#base.ticks;
    const place = { position: position(at), idleTicks: idle ? ticks(time) : undefined };
    const record = { ...place, ...this.#content(head & TAG_MASK) };
    this.#base = { position: at, ticks: time };
    this.#ended = record.kind === "end";
    return record;
  }

  #content(kind: number): Content {
    const reader = this.#reader;
    switch (kind) {
      case tag.uart:
      case tag.hvc:
      case tag.agent:
        return input({ kind: "console", port: PORTS[kind] ?? "uart", bytes: this.#bytes() });
      case tag.frame:
        return input({ kind: "frame", bytes: this.#bytes() });
      case tag.clock:
        return input({ kind: "clock", rate: reader.uvarint(), step: reader.uvarint() });
      case tag.entropy:
        return input({ kind: "entropy", seed: new Uint8Array(reader.bytes(SEED_BYTES)) });
      case tag.powerButton:
        return input({ kind: "power-button" });
      case tag.linkDown:
      case tag.linkUp:
        return input({ kind: "link", up: kind === tag.linkUp });
      case tag.frontier:
        return { kind: "frontier" };
      case tag.digest: {
        const low = reader.u64();
        const value = (reader.u64() << 64n) | low;
        return { kind: "digest", digest: value.toString(16).padStart(32, "0") };
      }
      case tag.end:
        return { kind: "end", end: this.#end() };
      default:
        throw corruptTrace(`unknown record kind ${kind}`);
    }
  }

  #bytes(): Uint8Array {
    const length = this.#reader.uvarint();
    if (length > BigInt(MAX_EVENT_BYTES)) {
      throw corruptTrace(`an input of ${length} bytes, want at most ${MAX_EVENT_BYTES}`);
    }
    // Not `slice`, which gives a view if the input is a Node.js Buffer.
    return new Uint8Array(this.#reader.bytes(Number(length)));
  }

  #end(): TraceEnd {
    const index = this.#reader.u8();
    const kind = ENDS[index];
    if (kind === undefined) throw corruptTrace(`unknown end ${index}`);
    if (kind !== "power-off") return { kind };
    const status = this.#reader.uvarint();
    if (status > BigInt(MAX_STATUS)) throw corruptTrace(`power-off with status ${status}`);
    return { kind, status: Number(status) };
  }
}

type Content =
  | { readonly kind: "input"; readonly event: InputEvent }
  | { readonly kind: "frontier" }
  | { readonly kind: "digest"; readonly digest: string }
  | { readonly kind: "end"; readonly end: TraceEnd };

const input = (event: InputEvent): Content => ({ kind: "input", event });

function advanced(from: bigint, distance: bigint, what: string): bigint {
  const to = from + distance;
  if (to > MAX_U64) throw corruptTrace(`${what} ${to} is beyond 64 bits`);
  return to;
}
