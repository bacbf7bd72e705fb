/**
 * Sets of page numbers as bytes: runs, each a varint gap to the one before and a varint length.
 * A machine's dirty pages lie in runs, so a set of ten thousand takes a few kilobytes.
 */
import { assert } from "@dejavm/base";
import { protocolError } from "./errors.ts";
import { MAX_PAGES } from "./limits.ts";

/** Encodes ascending, distinct page numbers. */
export function encodePageSet(pages: ArrayLike<number>): Uint8Array {
  const bytes: number[] = [];
  let end = 0;
  for (let i = 0; i < pages.length; ) {
    const start = pages[i] ?? 0;
    assert(start >= end, "page sets ascend");
    let length = 1;
    while (pages[i + length] === start + length) length++;
    pushVarint(bytes, start - end);
    pushVarint(bytes, length);
    end = start + length;
    i += length;
  }
  return Uint8Array.from(bytes);
}

/** Reads what `encodePageSet` wrote, of `pageCount` pages. Throws E_PROTOCOL_MALFORMED. */
export function decodePageSet(bytes: Uint8Array, pageCount: number): Uint32Array {
  assert(pageCount <= MAX_PAGES, "page counts were checked");
  const runs = readRuns(bytes, pageCount);
  const total = runs.reduce((sum, run) => sum + run.length, 0);
  const pages = new Uint32Array(total);
  let at = 0;
  for (const { start, length } of runs) {
    for (let i = 0; i < length; i++) pages[at++] = start + i;
  }
  return pages;
}

interface Run {
  readonly start: number;
  readonly length: number;
}

function readRuns(bytes: Uint8Array, pageCount: number): Run[] {
  const runs: Run[] = [];
  let offset = 0;
  let end = 0;
  const varint = (): number => {
    let value = 0;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = bytes[offset++];
      if (byte === undefined) throw malformed("it ends within a number");
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) {
        if (shift > 0 && byte === 0) throw malformed("a number is not in its shortest form");
        return value;
      }
    }
    throw malformed("a number is too large");
  };
  while (offset < bytes.length) {
    const gap = varint();
    const length = varint();
    const start = end + gap;
    // Runs that touch are one run: every set has one encoding.
    if (length === 0 || (runs.length > 0 && gap === 0)) throw malformed("a run is not maximal");
    end = start + length;
    if (end > pageCount) throw malformed(`page ${end - 1} of ${pageCount}`);
    runs.push({ start, length });
  }
  return runs;
}

function pushVarint(bytes: number[], value: number): void {
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) bytes.push((rest & 0x7f) | 0x80);
  bytes.push(rest);
}

function malformed(detail: string): Error {
  return protocolError("E_PROTOCOL_MALFORMED", `cannot read a set of pages: ${detail}`);
}
