/** Reads segments in order, and makes sure that nothing is missing between them. */
import type { TraceCodecs } from "./codecs.ts";
import { corruptTrace, traceGap } from "./errors.ts";
import type { TraceRecord } from "./record.ts";
import { RecordReader, type TracePlace } from "./record-codec.ts";
import {
  chainNext,
  type OpenSegment,
  openSegment,
  pointAfter,
  type TracePoint,
} from "./segment.ts";

/** What was sealed at once. */
export interface TraceUnit {
  readonly sequence: number;
  readonly records: readonly TraceRecord[];
}

/** See the head of this file. */
export class TraceReader {
  readonly #codecs: Pick<TraceCodecs, "sha256" | "decompress" | "crc32">;
  #point: TracePoint;
  #ended = false;

  /** Expects the unit that begins at `at`, in whatever segment it is. */
  constructor(options: {
    readonly codecs: Pick<TraceCodecs, "sha256" | "decompress" | "crc32">;
    readonly at: TracePoint;
  }) {
    this.#codecs = options.codecs;
    this.#point = options.at;
  }

  /** Where the next unit must begin. */
  get point(): TracePoint {
    return this.#point;
  }

  /** Whether the last record read was an end; the next unit then begins another stretch. */
  get ended(): boolean {
    return this.#ended;
  }

  /**
   * The units of the next segment. Those before `point` are left out: a block may have begun
   * earlier. Throws E_TRACE_CORRUPT, E_TRACE_VERSION, or E_TRACE_GAP where the segment is whole
   * but not the next one; after any of them nothing has changed.
   */
  read(bytes: Uint8Array): readonly TraceUnit[] {
    const segment = openSegment(bytes, this.#codecs);
    const { header } = segment;
    const want = this.#point;
    const { units, starts } = unitsOf(segment);
    const known = want.sequence - header.sequence;
    const start = starts[known];
    if (start === undefined) {
      throw traceGap(`unit ${header.sequence} where unit ${want.sequence} is next`);
    }
    if (!this.#ended && (start.position !== want.position || start.ticks !== want.ticks)) {
      const found = `unit ${want.sequence} begins at position ${start.position}`;
      throw traceGap(`${found}, want ${want.position}`);
    }
    this.#checkChain(segment, known);
    this.#point = pointAfter(header);
    this.#ended = units.at(-1)?.records.at(-1)?.kind === "end";
    return units.slice(known);
  }

  #checkChain({ header, units }: OpenSegment, known: number): void {
    let { chain } = this.#point;
    for (const unit of units.slice(known)) chain = chainNext(chain, unit, this.#codecs);
    const same = chain.every((byte, i) => byte === header.chain[i]);
    if (!same) throw traceGap(`the hash chain breaks at unit ${header.sequence + known}`);
  }
}

/**
 * The records of a segment by itself, and what those of each unit count from; throws
 * E_TRACE_CORRUPT.
 */
export function unitsOf({ header, units }: OpenSegment): {
  readonly units: readonly TraceUnit[];
  readonly starts: readonly TracePlace[];
} {
  const read: TraceUnit[] = [];
  const starts: TracePlace[] = [];
  let place = header.from;
  for (const [i, bytes] of units.entries()) {
    if (read.at(-1)?.records.at(-1)?.kind === "end") throw corruptTrace("a unit follows the end");
    const reader = new RecordReader(bytes, place);
    const records: TraceRecord[] = [];
    for (let record = reader.next(); record !== undefined; record = reader.next()) {
      records.push(record);
    }
    starts.push(place);
    read.push({ sequence: header.sequence + i, records });
    place = reader.place;
  }
  if (place.position !== header.to.position || place.ticks !== header.to.ticks) {
    throw corruptTrace(`segment ends at position ${place.position}, want ${header.to.position}`);
  }
  return { units: read, starts };
}
