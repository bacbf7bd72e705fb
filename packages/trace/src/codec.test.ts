/** Writer and reader together: what is written is read, and nothing else is. */
import { Prng } from "@dejavm/base";
import { position } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { encodeTraceHeader, traceStart } from "./header.ts";
import { mergeSegments } from "./merge.ts";
import { TraceReader } from "./reader.ts";
import type { TraceRecord } from "./record.ts";
import type { Segment, TracePoint } from "./segment.ts";
import { CODECS, randomRecords } from "./test-support/records.ts";
import { TraceWriter } from "./writer.ts";

const HEADER = encodeTraceHeader({
  semantics: 1,
  memoryBytes: 64 * 1024 * 1024,
  boot: undefined,
  disks: [],
  mac: "",
});
const START = traceStart(HEADER, CODECS);
const SEEDS = [1, 2, 3, 4, 5, 6, 7, 8];

interface Written {
  readonly records: TraceRecord[];
  readonly segments: Segment[];
  /** Where each segment begins, and where the last one ends. */
  readonly points: TracePoint[];
}

function write(seed: number, count = 100): Written {
  const random = new Prng(seed);
  const records = randomRecords(random, count);
  records.push({
    kind: "end",
    position: position((records.at(-1)?.position ?? 0n) + 1n),
    idleTicks: undefined,
    end: random.pick([{ kind: "reset" }, { kind: "power-off", status: 300 }, { kind: "moved" }]),
  });
  const writer = new TraceWriter({ hasher: CODECS, at: START });
  const segments: Segment[] = [];
  const points = [writer.point];
  const seal = (): void => {
    const segment = writer.seal();
    if (segment !== undefined) segments.push(segment);
    points.push(writer.point);
  };
  for (const record of records) {
    writer.append(record);
    if (random.oneIn(4)) seal();
  }
  if (writer.pendingRecords > 0) seal();
  return { records, segments, points };
}

function readAll(segments: readonly Uint8Array[], at = START): TraceRecord[] {
  const reader = new TraceReader({ codecs: CODECS, at });
  return segments.flatMap((bytes) => reader.read(bytes)).flatMap(({ records }) => records);
}

const bytesOf = (segments: readonly Segment[]): Uint8Array[] => segments.map(({ bytes }) => bytes);

describe("a trace", () => {
  test.for(SEEDS)("[TR1] is read as it was written (seed %d)", (seed) => {
    const { records, segments } = write(seed);
    expect(readAll(bytesOf(segments))).toEqual(records);
  });

  test.for(SEEDS)("[TR2] is the same however its segments are merged (seed %d)", (seed) => {
    const random = new Prng(seed);
    const { records, segments, points } = write(seed);
    let merged = bytesOf(segments);
    while (merged.length > 1) {
      const at = random.below(merged.length - 1);
      const count = 2 + random.below(3);
      const one = mergeSegments(merged.slice(at, at + count), CODECS);
      merged = [...merged.slice(0, at), one.bytes, ...merged.slice(at + count)];
      expect(readAll(merged)).toEqual(records);
    }
    const reader = new TraceReader({ codecs: CODECS, at: START });
    reader.read(merged[0] ?? new Uint8Array(0));
    expect(reader.point).toEqual(points.at(-1));
    // From any unit on, also within a block.
    for (const point of points.slice(0, -1)) {
      const rest = readAll(merged, point);
      expect(rest).toEqual(records.slice(records.length - rest.length));
    }
  });
});
