/** Where two results differ, in words that say what to look at. */

import { csrName } from "./csr.ts";
import { DUMP_CSR_OFFSET, DUMP_FLOAT_OFFSET, DUMPED_CSRS } from "./frame.ts";
import {
  BODIES,
  BODY_PAGES,
  CODE_BYTES,
  CONTEXT,
  DATA,
  DATA_PAGES,
  DUMP,
  DUMP_INSTRET_OFFSET,
  LOG,
  LOG_ENTRY_BYTES,
  PAGE_BYTES,
  POOL,
  REGION_BASE,
  REGION_BYTES,
  TABLE_PAGES,
  TABLES,
} from "./layout.ts";
import type { RunResult } from "./subject.ts";

export interface Difference {
  /** Offset in the region of the first word that differs; undefined: one did not end. */
  readonly offset: number | undefined;
  /** A line for people. */
  readonly summary: string;
  /** Further lines. */
  readonly details: readonly string[];
}

const AREAS: readonly (readonly [string, number, number])[] = [
  ["log", LOG, REGION_BASE + REGION_BYTES - LOG],
  ["dump", DUMP, DUMP_INSTRET_OFFSET],
  ["data", DATA, DATA_PAGES * PAGE_BYTES],
  ["page tables", TABLES, TABLE_PAGES * PAGE_BYTES],
  ["context", CONTEXT, PAGE_BYTES],
  ["code", REGION_BASE, CODE_BYTES],
  ["bodies", BODIES, BODY_PAGES * PAGE_BYTES],
  ["pool", POOL, PAGE_BYTES],
];

function wordAt(bytes: Uint8Array, offset: number): bigint {
  return new DataView(bytes.buffer, bytes.byteOffset).getBigUint64(offset, true);
}

function hex(value: bigint | number): string {
  return value.toString(16).padStart(typeof value === "bigint" ? 16 : 8, "0");
}

/** The instruction count that a program left behind, as the subject counted. */
export function instructionCount(ram: Uint8Array): bigint {
  return wordAt(ram, DUMP - REGION_BASE + DUMP_INSTRET_OFFSET);
}

/** What a word of the dump page holds. */
function dumpedName(offset: number): string {
  if (offset < DUMP_FLOAT_OFFSET) return `x${offset / 8}`;
  if (offset < DUMP_CSR_OFFSET) return `f${(offset - DUMP_FLOAT_OFFSET) / 8}`;
  const number = DUMPED_CSRS[(offset - DUMP_CSR_OFFSET) / 8];
  return number === undefined ? "nothing" : csrName(number);
}

function* differingWords(a: Uint8Array, b: Uint8Array): Generator<number> {
  for (const [, start, size] of AREAS) {
    const first = start - REGION_BASE;
    const [left, right] = [a.subarray(first, first + size), b.subarray(first, first + size)];
    if (Buffer.compare(left, right) === 0) continue;
    for (let offset = 0; offset < size; offset += 8) {
      if (wordAt(left, offset) !== wordAt(right, offset)) yield first + offset;
    }
  }
}

function describeWord(offset: number, a: Uint8Array, b: Uint8Array): string {
  const address = REGION_BASE + offset;
  const area = AREAS.find(([, start, size]) => address >= start && address < start + size);
  const start = area?.[1] ?? REGION_BASE;
  const within = address - start;
  const what =
    start === DUMP
      ? dumpedName(within)
      : start === LOG
        ? `entry ${Math.floor(within / LOG_ENTRY_BYTES)} word ${(within % LOG_ENTRY_BYTES) / 8}`
        : `+${within.toString(16)}`;
  return `${area?.[0]} ${what}: ${hex(wordAt(a, offset))} / ${hex(wordAt(b, offset))}`;
}

function logEntry(ram: Uint8Array, offset: number): string {
  const words = [];
  for (let index = 0; index < LOG_ENTRY_BYTES; index += 8)
    words.push(hex(wordAt(ram, offset + index)));
  return words.join(" ");
}

const DETAIL_LIMIT = 12;

/** Undefined when everything that is compared is equal. The log comes first: it knows when. */
export function compareResults(
  a: { readonly name: string; readonly result: RunResult },
  b: { readonly name: string; readonly result: RunResult },
): Difference | undefined {
  const [left, right] = [a.result, b.result];
  if (left.stop !== right.stop) {
    const ends = [a, b].map(({ name, result }) => `${name}: ${result.stop} ${result.detail}`);
    const [offset] = differingWords(left.ram, right.ram);
    const details = offset === undefined ? [] : [describeWord(offset, left.ram, right.ram)];
    return { offset, summary: ends.join("; "), details };
  }
  const offsets = [];
  for (const offset of differingWords(left.ram, right.ram)) {
    offsets.push(offset);
    if (offsets.length === DETAIL_LIMIT) break;
  }
  const [first] = offsets;
  if (first === undefined) return undefined;
  const details = offsets.map((offset) => describeWord(offset, left.ram, right.ram));
  if (REGION_BASE + first >= LOG) {
    const start = first - (first % LOG_ENTRY_BYTES);
    if (REGION_BASE + start > LOG) {
      details.push(`before     ${logEntry(left.ram, start - LOG_ENTRY_BYTES)}`);
    }
    details.push(`${a.name.padEnd(10)} ${logEntry(left.ram, start)}`);
    details.push(`${b.name.padEnd(10)} ${logEntry(right.ram, start)}`);
  }
  const summary = `${a.name} / ${b.name}: ${describeWord(first, left.ram, right.ram)}`;
  return { offset: first, summary, details };
}
