/** Traces of the model: records as JSON, sealed into numbered segments. */
import { CodedError } from "@dejavm/base";
import { mix } from "./model.ts";

/** One entry. */
export type SimRecord =
  | { readonly kind: "input"; readonly position: number; readonly input: number }
  | { readonly kind: "frontier"; readonly position: number }
  | { readonly kind: "digest"; readonly position: number; readonly digest: string };

/** A sealed run of records. */
export interface SimSegment {
  readonly sequence: number;
  readonly records: readonly SimRecord[];
  readonly lastPosition: number;
  /** After it. */
  readonly chain: number;
}

/** Where a trace goes on. */
export interface SimPoint {
  readonly sequence: number;
  readonly chain: number;
}

/** Seals records. */
export function seal(at: SimPoint, records: readonly SimRecord[]): SimSegment {
  const lastPosition = records.at(-1)?.position ?? 0;
  let { chain } = at;
  for (const record of records) {
    chain = mix(chain, record.position);
    if (record.kind === "input") chain = mix(chain, record.input);
  }
  return { sequence: at.sequence, records, lastPosition, chain };
}

/** As it travels. */
export function segmentBytes(segment: SimSegment): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(segment));
}

/** Read again. Throws E_TRACE_CORRUPT. */
export function segmentOf(bytes: Uint8Array): SimSegment {
  const { sequence, records, chain } = parsed(bytes);
  const from = { sequence, chain: 0 };
  const whole = Array.isArray(records) && records.every(isRecord) && isCount(sequence);
  if (!whole || !isCount(chain)) throw corrupt();
  const lastPosition = seal(from, records).lastPosition;
  return { sequence, records, lastPosition, chain };
}

function parsed(bytes: Uint8Array): Partial<SimSegment> & Pick<SimSegment, "sequence"> {
  try {
    return JSON.parse(new TextDecoder().decode(bytes)) as SimSegment;
  } catch {
    throw corrupt();
  }
}

function isRecord(record: SimRecord): boolean {
  if (typeof record !== "object" || !isCount(record.position)) return false;
  return record.kind === "input" ? isCount(record.input) : true;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && Number(value) >= 0;
}

function corrupt(): CodedError<"E_TRACE_CORRUPT"> {
  return new CodedError("E_TRACE_CORRUPT", "these bytes are no trace segment");
}

/** A chain value as the protocol carries it. */
export function chainBytes(chain: number): Uint8Array {
  const bytes = new Uint8Array(32);
  new DataView(bytes.buffer).setUint32(0, chain);
  return bytes;
}

/** The number in a chain value. */
export function chainOf(bytes: Uint8Array): number {
  return new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
}
