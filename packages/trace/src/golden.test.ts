/** The format is a contract: files written by version 1 are read for ever, and written alike. */
import { readFileSync } from "node:fs";
import { position, ticks } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import type { Fingerprint } from "./fingerprint.ts";
import { decodeTraceHeader, encodeTraceHeader, traceStart } from "./header.ts";
import { TraceReader } from "./reader.ts";
import type { TraceRecord } from "./record.ts";
import { CODECS } from "./test-support/records.ts";
import { TraceWriter } from "./writer.ts";

const FINGERPRINT: Fingerprint = {
  semantics: 1,
  memoryBytes: 134_217_728,
  boot: {
    kind: "linux",
    firmware: "",
    kernel: "aa".repeat(32),
    initrd: "bb".repeat(32),
    commandLine: "root=/dev/vda console=ttyS0",
  },
  disks: [{ sha256: "cc".repeat(32), sizeBytes: 1_048_576, readOnly: false, serial: "root" }],
  mac: "020000000001",
};

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

/** Every kind of record, at places that need short and long distances. */
const RECORDS: readonly TraceRecord[] = [
  at(0n, { kind: "input", event: { kind: "entropy", seed: new Uint8Array(32).fill(7) } }),
  at(0n, { kind: "input", event: { kind: "clock", rate: 429_496_729n, step: 0n } }),
  at(127n, { kind: "input", event: { kind: "console", port: "uart", bytes: text("root\n") } }),
  at(255n, { kind: "input", event: { kind: "console", port: "hvc", bytes: text("") } }, 1000n),
  at(255n, { kind: "frontier" }, 90_000n),
  at(255n, { kind: "input", event: { kind: "console", port: "agent", bytes: text("x") } }, 90_001n),
  at(1n << 40n, { kind: "input", event: { kind: "frame", bytes: new Uint8Array(60).fill(0x5a) } }),
  at(1n << 40n, { kind: "digest", digest: "00112233445566778899aabbccddeeff" }),
  at(1n << 55n, { kind: "input", event: { kind: "link", up: false } }),
  at(1n << 55n, { kind: "input", event: { kind: "link", up: true } }, 1n << 60n),
  at((1n << 64n) - 1n, { kind: "input", event: { kind: "power-button" } }),
  at((1n << 64n) - 1n, { kind: "end", end: { kind: "power-off", status: 0 } }),
];

type Content = TraceRecord extends infer R ? (R extends TraceRecord ? Without<R> : never) : never;
type Without<R> = Omit<R, "position" | "idleTicks">;

function at(where: bigint, content: Content, idle?: bigint): TraceRecord {
  const idleTicks = idle === undefined ? undefined : ticks(idle);
  return { ...content, position: position(where), idleTicks };
}

/** Lines `name: hex`; `#` begins a comment. */
const GOLDEN = new Map(
  readFileSync(new URL("golden/trace-v1.hex", import.meta.url), "utf8")
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"))
    .map((line) => line.split(": ") as [string, string])
    .map(([name, hex]) => [name, new Uint8Array(Buffer.from(hex, "hex"))]),
);
const golden = (name: string): Uint8Array => GOLDEN.get(name) ?? new Uint8Array(0);
const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

describe("[TR5] version 1 of the format", () => {
  test("the header is written and read as ever", () => {
    expect(hex(encodeTraceHeader(FINGERPRINT))).toBe(hex(golden("header")));
    expect(decodeTraceHeader(golden("header"))).toEqual({
      version: 1,
      features: 0,
      fingerprint: FINGERPRINT,
    });
  });

  test("segments are written as ever", () => {
    const at = traceStart(golden("header"), CODECS);
    const writer = new TraceWriter({ hasher: CODECS, at });
    for (const record of RECORDS.slice(0, 6)) writer.append(record);
    expect(hex(writer.seal()?.bytes ?? golden(""))).toBe(hex(golden("segment.0")));
    for (const record of RECORDS.slice(6)) writer.append(record);
    expect(hex(writer.seal()?.bytes ?? golden(""))).toBe(hex(golden("segment.1")));
  });

  test.for([[["segment.0", "segment.1"]], [["merged"]]] as const)(
    "%o are read as ever",
    ([names]) => {
      const reader = new TraceReader({ codecs: CODECS, at: traceStart(golden("header"), CODECS) });
      const records = names.flatMap((name) => reader.read(golden(name)));
      expect(records.flatMap((unit) => unit.records)).toEqual(RECORDS);
    },
  );

  test("another version, an unknown flag or feature is refused as such", () => {
    const version = expect.objectContaining({ code: "E_TRACE_VERSION" }) as Error;
    const header = golden("header");
    for (const at of [8, 12]) {
      const newer = header.slice();
      newer[at] = 2;
      expect(() => decodeTraceHeader(newer)).toThrow(version);
    }
    const reader = new TraceReader({ codecs: CODECS, at: traceStart(header, CODECS) });
    for (const name of ["newer-version", "unknown-flag"]) {
      expect(() => reader.read(golden(name))).toThrow(version);
    }
  });
});
