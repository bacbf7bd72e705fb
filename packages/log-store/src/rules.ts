/** What every implementation of the store demands before it writes. */
import { randomBytes } from "node:crypto";
import { CHUNK_BYTES, PAGE_BYTES } from "@dejavm/machine";
import { MAX_SEGMENT_BYTES, type Segment, type TracePoint } from "@dejavm/trace";
import {
  MAX_CHAIN_BYTES,
  MAX_CHUNKS,
  MAX_CONFIG_BYTES,
  MAX_DETAIL_CHARACTERS,
  MAX_DISKS,
  MAX_PAGES,
  MAX_PEER_CHARACTERS,
  MAX_REPORT_CHARACTERS,
  MAX_STATE_BYTES,
} from "./limits.ts";
import type {
  ChunkChange,
  LineageId,
  NewCheckpoint,
  NewLineage,
  NewOwnershipRecord,
  OwnershipRecord,
  StoredReport,
} from "./log-store.ts";
import { storeError } from "./store-errors.ts";

const NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/;
const ID = /^[A-Za-z0-9_-]{8,64}$/;
/** Positions and ticks are stored as signed 64-bit integers: 292 years at 1 GHz. */
const MAX_COUNT = (1n << 63n) - 1n;

/** Throws E_STORE_LIMIT if `size` is above `limit`. */
export function checkSize(what: string, size: number, limit: number): void {
  if (size <= limit) return;
  throw storeError("E_STORE_LIMIT", `cannot store ${what} of size ${size}: at most ${limit}`);
}

/** Throws E_STORE_NAME or E_STORE_LIMIT. */
export function checkNewLineage({ id, name, config, fingerprint }: NewLineage): void {
  checkName(name);
  if (id !== undefined) lineageId(id);
  checkSize("configuration", config.length, MAX_CONFIG_BYTES);
  checkSize("fingerprint", fingerprint.length, MAX_CONFIG_BYTES);
}

/** Throws E_STORE_NAME unless `name` can be a lineage's. */
export function checkName(name: string): void {
  if (NAME.test(name)) return;
  throw storeError("E_STORE_NAME", `cannot name a machine ${JSON.stringify(name)}`, {
    hint: "use letters, digits and . _ -, at most 64, a letter or digit first",
  });
}

/** Throws E_STORE_NAME unless `text` can be an id. */
export function lineageId(text: string): LineageId {
  if (ID.test(text)) return text as LineageId;
  throw storeError("E_STORE_NAME", `cannot use ${JSON.stringify(text)} as the id of a lineage`);
}

/** An id that nobody has had: 96 random bits. */
export function newLineageId(): LineageId {
  return randomBytes(12).toString("base64url") as LineageId;
}

/** Throws E_STORE_SEQUENCE or E_STORE_LIMIT unless `segments` can follow `end`. */
export function checkAppend(
  end: TracePoint | undefined,
  segments: readonly Segment[],
  afterGap: boolean,
): void {
  let expected = end?.sequence;
  for (const [index, segment] of segments.entries()) {
    const { sequence, unitCount, from, to, chain } = segment.header;
    const startsAnew =
      index === 0 && (expected === undefined || (afterGap && sequence >= expected));
    const legal = Number.isSafeInteger(sequence + unitCount) && sequence >= 0 && unitCount >= 1;
    if (!legal || (!startsAnew && sequence !== expected)) {
      throw storeError(
        "E_STORE_SEQUENCE",
        `cannot append from unit ${sequence} on: expected unit ${expected ?? "0 or later"}`,
      );
    }
    for (const { position, ticks } of [from, to]) {
      checkCount(position);
      checkCount(ticks);
    }
    checkSize("a trace segment", segment.bytes.length, MAX_SEGMENT_BYTES);
    checkSize("a chain value", chain.length, MAX_CHAIN_BYTES);
    expected = sequence + unitCount;
  }
}

function checkCount(value: bigint): void {
  if (value >= 0n && value <= MAX_COUNT) return;
  throw storeError("E_STORE_LIMIT", `cannot store position or time ${value}: want below 2^63`);
}

/** Throws E_STORE_EPOCH or E_STORE_LIMIT unless `next` can follow `current`. */
export function checkOwnership(
  current: OwnershipRecord | undefined,
  next: NewOwnershipRecord,
): void {
  checkSize("a peer's address", next.peer.length, MAX_PEER_CHARACTERS);
  checkSize("a transition's detail", next.detail.length, MAX_DETAIL_CHARACTERS);
  const least = current?.epoch ?? 0;
  if (Number.isSafeInteger(next.epoch) && next.epoch >= least) return;
  throw storeError(
    "E_STORE_EPOCH",
    `cannot record ${next.state} with epoch ${next.epoch}: the record is at epoch ${least}`,
  );
}

/** Throws E_STORE_LIMIT. */
export function checkReport({ kind, json }: Omit<StoredReport, "atMs">): void {
  checkSize("a kind of report", kind.length, 64);
  checkSize("a report", json.length, MAX_REPORT_CHARACTERS);
}

/** Throws E_STORE_LIMIT. */
export function checkNewCheckpoint(checkpoint: NewCheckpoint): void {
  const { position, ticks, trace, memoryPages, state } = checkpoint;
  for (const count of [position, ticks, trace.position, trace.ticks]) checkCount(count);
  checkSize("a chain value", trace.chain.length, MAX_CHAIN_BYTES);
  checkSize("RAM in pages", memoryPages, MAX_PAGES);
  checkSize("a state", state.length, MAX_STATE_BYTES);
}

/** Throws E_STORE_CHECKPOINT unless the pages lie in RAM and the bytes are theirs. */
export function checkPages(pages: Uint32Array, memoryPages: number, bytes?: Uint8Array): void {
  const wanted = pages.length * PAGE_BYTES;
  if (bytes !== undefined && bytes.length !== wanted) {
    const message = `cannot put ${pages.length} pages: ${bytes.length} bytes, expected ${wanted}`;
    throw storeError("E_STORE_CHECKPOINT", message);
  }
  for (const page of pages) {
    if (page < memoryPages) continue;
    throw storeError("E_STORE_CHECKPOINT", `cannot put page ${page}: RAM has ${memoryPages}`);
  }
}

/** Throws E_STORE_CHECKPOINT unless the chunk is one. */
export function checkChunk({ disk, chunk, bytes }: ChunkChange): void {
  const sized = bytes === undefined || bytes.length === CHUNK_BYTES;
  const placed = disk >= 0 && disk < MAX_DISKS && chunk >= 0 && chunk < MAX_CHUNKS;
  if (sized && placed && Number.isInteger(disk) && Number.isInteger(chunk)) return;
  const size = bytes?.length ?? 0;
  throw storeError(
    "E_STORE_CHECKPOINT",
    `cannot put chunk ${chunk} of disk ${disk} with ${size} bytes: want ${CHUNK_BYTES}`,
  );
}
