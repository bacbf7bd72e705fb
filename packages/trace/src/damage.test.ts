/** What is not as it was written is refused, at or before the segment in which it lies. */
import { ByteWriter, crc32, Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import {
  MAX_EVENT_BYTES,
  MAX_SEGMENT_BYTES,
  MAX_SEGMENT_PLAIN_BYTES,
  MAX_SEGMENT_UNITS,
} from "./limits.ts";
import { mergeSegments } from "./merge.ts";
import { TraceReader, unitsOf } from "./reader.ts";
import { encodeSegment, type OpenSegment, openSegment, type TracePoint } from "./segment.ts";
import { CODECS, randomRecords } from "./test-support/records.ts";
import { TraceWriter } from "./writer.ts";

const START: TracePoint = { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) };
const CORRUPT = expect.objectContaining({ code: "E_TRACE_CORRUPT" }) as Error;
const GAP = expect.objectContaining({ code: "E_TRACE_GAP" }) as Error;

function write(seed: number, segments: number, each: number): Uint8Array[] {
  const records = randomRecords(new Prng(seed), segments * each);
  const writer = new TraceWriter({ hasher: CODECS, at: START });
  return Array.from({ length: segments }, (_, i) => {
    for (const record of records.slice(i * each, (i + 1) * each)) writer.append(record);
    return writer.seal()?.bytes ?? new Uint8Array(0);
  });
}

/** How many of the segments are read before one is refused, and by which code. */
function readUntilRefused(segments: readonly Uint8Array[]): { read: number; code: string } {
  const reader = new TraceReader({ codecs: CODECS, at: START });
  for (const [read, bytes] of segments.entries()) {
    try {
      reader.read(bytes);
    } catch (error) {
      return { read, code: (error as { code: string }).code };
    }
  }
  return { read: segments.length, code: "none" };
}

function withCrc(bytes: Uint8Array): Uint8Array {
  const body = bytes.subarray(0, -4);
  return new ByteWriter().bytes(body).u32(crc32(body)).finish();
}

function flipped(bytes: Uint8Array, bit: number): Uint8Array {
  const copy = bytes.slice();
  copy[bit >> 3] = (copy[bit >> 3] ?? 0) ^ (1 << (bit & 7));
  return copy;
}

describe("[TR3] damage", () => {
  const segments = write(11, 4, 6);
  const merged = mergeSegments(segments, CODECS).bytes;

  test("a flipped bit anywhere is found in its segment", () => {
    for (const [i, bytes] of segments.entries()) {
      for (let bit = 0; bit < bytes.length * 8; bit++) {
        const damaged = segments.with(i, flipped(bytes, bit));
        expect(readUntilRefused(damaged)).toMatchObject({ read: i, code: /E_TRACE_/ });
      }
    }
    for (let bit = 0; bit < merged.length * 8; bit++) {
      expect(readUntilRefused([flipped(merged, bit)]).read).toBe(0);
    }
  });

  test("a flipped bit whose checksum was made good is found by chain or content", () => {
    for (const [i, bytes] of segments.entries()) {
      for (let bit = 0; bit < (bytes.length - 4) * 8; bit++) {
        const damaged = segments.with(i, withCrc(flipped(bytes, bit)));
        const { read, code } = readUntilRefused(damaged);
        // The chain value itself may be the one that is wrong: that shows at once, too.
        expect({ bit, read, ok: code.startsWith("E_TRACE_") }).toEqual({ bit, read: i, ok: true });
      }
    }
  });

  test("an end cut off at any byte, and bytes behind the end", () => {
    for (const bytes of [segments[0] ?? merged, merged]) {
      for (let length = 0; length < bytes.length; length++) {
        expect(() => openSegment(bytes.subarray(0, length), CODECS)).toThrow(CORRUPT);
      }
      expect(() => openSegment(Uint8Array.of(...bytes, 0), CODECS)).toThrow(CORRUPT);
    }
  });

  test("a segment left out, out of its place, or of another trace", () => {
    const [a, b, c] = segments as [Uint8Array, Uint8Array, Uint8Array];
    expect(readUntilRefused([a, c])).toEqual({ read: 1, code: "E_TRACE_GAP" });
    expect(readUntilRefused([b, a])).toEqual({ read: 0, code: "E_TRACE_GAP" });
    const [, other] = write(12, 2, 6) as [Uint8Array, Uint8Array];
    expect(readUntilRefused([a, other])).toEqual({ read: 1, code: "E_TRACE_GAP" });
    expect(() => mergeSegments([a, c], CODECS)).toThrow(GAP);
  });

  test("after a refusal the reader goes on where it was", () => {
    const reader = new TraceReader({ codecs: CODECS, at: START });
    const [a, b, c] = segments as [Uint8Array, Uint8Array, Uint8Array];
    reader.read(a);
    expect(() => reader.read(c)).toThrow(GAP);
    expect(() => reader.read(flipped(b, 99))).toThrow(CORRUPT);
    expect(() => reader.read(a)).toThrow(GAP);
    expect(reader.read(b)).toHaveLength(1);
    expect(reader.read(c)).toHaveLength(1);
  });

  test("random damage is refused or is the one encoding of what it says", () => {
    const random = new Prng(0xda3a);
    for (let round = 0; round < 3000; round++) {
      const bytes = (segments[random.below(segments.length)] ?? merged).slice();
      for (let i = 1 + random.below(4); i > 0; i--) {
        const at = 3 + random.below(bytes.length - 7);
        bytes[at] = random.pick([0, 1, 0x7f, 0x80, 0xff, random.below(256)]);
      }
      const damaged = withCrc(bytes);
      let open: OpenSegment;
      try {
        open = openSegment(damaged, CODECS);
        unitsOf(open);
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^E_TRACE_/) as string });
        continue;
      }
      const { header, units } = open;
      const from = { sequence: header.sequence, ...header.from };
      const again = encodeSegment(from, { ...header.to, chain: header.chain }, units);
      expect(again.bytes).toEqual(damaged);
    }
  });
});

describe("[TR4] limits", () => {
  const console = (length: number) =>
    ({
      kind: "input",
      position: 0n,
      idleTicks: undefined,
      event: { kind: "console", port: "uart", bytes: new Uint8Array(length) },
    }) as Parameters<TraceWriter["append"]>[0];

  function oneUnit(unit: Uint8Array): Uint8Array {
    return encodeSegment(START, { ...START, chain: new Uint8Array(32) }, [unit]).bytes;
  }

  test("bytes of one input", () => {
    for (const [length, good] of [
      [MAX_EVENT_BYTES - 1, true],
      [MAX_EVENT_BYTES, true],
      [MAX_EVENT_BYTES + 1, false],
    ] as const) {
      const writer = new TraceWriter({ hasher: CODECS, at: START });
      const unit = new ByteWriter().u8(0).uvarint(0).uvarint(length);
      const bytes = oneUnit(unit.bytes(new Uint8Array(length)).finish());
      const read = (): unknown => unitsOf(openSegment(bytes, CODECS));
      if (good) {
        writer.append(console(length));
        expect(read()).toBeDefined();
      } else {
        expect(() => writer.append(console(length))).toThrow("in one input");
        expect(read).toThrow(CORRUPT);
      }
    }
  });

  test("bytes of records in a segment", () => {
    // Frontiers: two bytes each, so that every size but the odd ones is possible.
    for (const [length, good] of [
      [MAX_SEGMENT_PLAIN_BYTES - 1, true],
      [MAX_SEGMENT_PLAIN_BYTES, true],
      [MAX_SEGMENT_PLAIN_BYTES + 1, false],
    ] as const) {
      const bytes = oneUnit(new Uint8Array(length).fill(9));
      const open = (): unknown => openSegment(bytes, CODECS);
      if (good) expect(open()).toBeDefined();
      else expect(open).toThrow(CORRUPT);
    }
  });

  test("units of a segment", () => {
    const of = (count: number): Uint8Array => {
      const units = Array.from({ length: count }, () => Uint8Array.of(9, 0));
      return encodeSegment(START, { ...START, chain: new Uint8Array(32) }, units).bytes;
    };
    for (const count of [MAX_SEGMENT_UNITS - 1, MAX_SEGMENT_UNITS]) {
      expect(openSegment(of(count), CODECS).units).toHaveLength(count);
    }
    expect(() => openSegment(of(MAX_SEGMENT_UNITS + 1), CODECS)).toThrow(CORRUPT);
    expect(() => mergeSegments([of(MAX_SEGMENT_UNITS), of(1)], CODECS)).toThrow(GAP);
  });

  test("a compressed segment unpacks to what it says, and to no more", () => {
    const bomb = new Uint8Array(MAX_SEGMENT_PLAIN_BYTES).fill(9);
    const [chain, plain] = [new Uint8Array(32), Uint8Array.of(9, 0, 9, 0, 9, 0)];
    // The compressor gives what would unpack to far more than the six bytes that are named.
    const compress = (): Uint8Array => CODECS.compress(bomb).subarray(0, 5);
    const bytes = encodeSegment(START, { ...START, chain }, [plain], { compress }).bytes;
    expect(() => openSegment(bytes, CODECS)).toThrow(CORRUPT);
    const large = new Uint8Array(MAX_SEGMENT_BYTES + 1);
    expect(() => openSegment(large, CODECS)).toThrow(CORRUPT);
  });

  test("records do not go back, nor beyond 64 bits", () => {
    const unit = new ByteWriter().u8(0x19).uvarint(1).uvarint(0).finish();
    const at = (place: { position: bigint; ticks: bigint }): unknown => {
      const from = { sequence: 0, ...place };
      const to = { ...place, position: place.position + 1n, chain: new Uint8Array(32) };
      return unitsOf(openSegment(encodeSegment(from, to, [unit]).bytes, CODECS));
    };
    const last = (1n << 64n) - 1n;
    expect(at({ position: last - 1n, ticks: last })).toBeDefined();
    expect(() => at({ position: last, ticks: 0n })).toThrow(CORRUPT);
    const writer = new TraceWriter({ hasher: CODECS, at: { ...START, position: 5n } });
    expect(() => writer.append(console(1))).toThrow("after one at 5");
  });
});
