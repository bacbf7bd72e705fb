/** Traces of the model: records as JSON, sealed into numbered segments. */
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

/** Read again; our own bytes only. */
export function segmentOf(bytes: Uint8Array): SimSegment {
  return JSON.parse(new TextDecoder().decode(bytes)) as SimSegment;
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
