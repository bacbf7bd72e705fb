/** Makes segments of records. */
import { assert, ByteWriter } from "@dejavm/base";
import type { TraceHasher } from "./codecs.ts";
import { CHAIN_BYTES, MAX_SEGMENT_PLAIN_BYTES } from "./limits.ts";
import type { TraceRecord } from "./record.ts";
import { encodeRecord, type TracePlace } from "./record-codec.ts";
import { encodeSegment, type Segment, type TracePoint } from "./segment.ts";

/** Collects records; each `seal` makes a segment of one unit out of those since the last. */
export class TraceWriter {
  readonly #hasher: TraceHasher;
  /** After the last sealed unit. */
  #sealed: TracePoint;
  #last: TracePlace;
  /** The chain so far, then the unit's records: what the chain's next value is the hash of. */
  readonly #out = new ByteWriter(16 * 1024);
  #records = 0;
  #ended = false;

  /** Goes on at `at`; a lineage begins with `traceStart`. */
  constructor(options: { readonly hasher: TraceHasher; readonly at: TracePoint }) {
    this.#hasher = options.hasher;
    this.#sealed = options.at;
    this.#last = options.at;
    this.#out.bytes(options.at.chain);
  }

  /** Records that wait to be sealed, and their bytes. */
  get pendingRecords(): number {
    return this.#records;
  }
  get pendingBytes(): number {
    return this.#out.length - CHAIN_BYTES;
  }

  /** Where the trace goes on after the last sealed unit: what a checkpoint remembers. */
  get point(): TracePoint {
    return this.#sealed;
  }

  /** Asserts that places do not go back, that events keep their limits, that there was no end. */
  append(record: TraceRecord): void {
    assert(!this.#ended, "a record follows the end of the trace");
    this.#last = encodeRecord(this.#out, record, this.#last);
    this.#records++;
    this.#ended = record.kind === "end";
    assert(this.pendingBytes <= MAX_SEGMENT_PLAIN_BYTES, "the trace is sealed in time");
  }

  /** Undefined: there is nothing to seal. */
  seal(): Segment | undefined {
    if (this.#records === 0) return undefined;
    const unit = this.#out.view.subarray(CHAIN_BYTES);
    // A copy, so that it is plain bytes whatever the host's library gives.
    const chain = new Uint8Array(this.#hasher.sha256(this.#out.view));
    const { crc32 } = this.#hasher;
    const checksum = crc32 === undefined ? {} : { crc32 };
    const segment = encodeSegment(this.#sealed, { ...this.#last, chain }, [unit], checksum);
    const { position, ticks } = this.#last;
    this.#sealed = { sequence: this.#sealed.sequence + 1, position, ticks, chain };
    this.#out.clear().bytes(chain);
    this.#records = 0;
    return segment;
  }

  /** After an end: another stretch begins at `place`, in the same sequence and chain. */
  restart(place: TracePlace): void {
    assert(this.#ended && this.#records === 0, "the trace has ended and is sealed");
    this.#sealed = { ...this.#sealed, ...place };
    this.#last = this.#sealed;
    this.#ended = false;
  }
}
