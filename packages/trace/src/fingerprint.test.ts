/** A trace of another machine is refused by the name of what differs. */
import type { MachineConfig } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { checkFingerprint, type Fingerprint, fingerprintOf } from "./fingerprint.ts";
import { decodeTraceHeader, encodeTraceHeader } from "./header.ts";
import { CODECS } from "./test-support/records.ts";

const CONFIG: MachineConfig = {
  memoryBytes: 64 * 1024 * 1024,
  boot: {
    kind: "linux",
    kernel: Uint8Array.of(1),
    initrd: Uint8Array.of(2),
    commandLine: "quiet",
  },
  disks: [{ sizeBytes: 4096, readOnly: false, serial: "root" }],
  net: { mac: Uint8Array.of(2, 0, 0, 0, 0, 1) },
  entropySeed: new Uint8Array(32),
  wallTimeNs: 0n,
};
const DISK = new Uint8Array(32).fill(3);
const TRACE = fingerprintOf(CONFIG, [DISK], CODECS);

function boot(change: Partial<NonNullable<Fingerprint["boot"]>>): Fingerprint {
  if (TRACE.boot === undefined) throw new Error("the trace knows what was booted");
  return { ...TRACE, boot: { ...TRACE.boot, ...change } };
}

function disk(change: Partial<Fingerprint["disks"][number]>): Fingerprint {
  return { ...TRACE, disks: TRACE.disks.map((one) => ({ ...one, ...change })) };
}

describe("[TR6] a replay is refused by the name of", () => {
  test.for<[string, Fingerprint]>([
    ["semantics", { ...TRACE, semantics: TRACE.semantics + 1 }],
    ["memoryBytes", { ...TRACE, memoryBytes: 2 * TRACE.memoryBytes }],
    ["mac", { ...TRACE, mac: "" }],
    ["disks", { ...TRACE, disks: [] }],
    ["disks.0.sha256", disk({ sha256: "00" })],
    ["disks.0.sizeBytes", disk({ sizeBytes: 8192 })],
    ["disks.0.readOnly", disk({ readOnly: true })],
    ["disks.0.serial", disk({ serial: "data" })],
    ["boot.kernel", boot({ kernel: "00" })],
    ["boot.initrd", boot({ initrd: "" })],
    ["boot.firmware", boot({ firmware: "00" })],
    ["boot.commandLine", boot({ commandLine: "" })],
    ["boot.kind", boot({ kind: "firmware" })],
  ])("%s", ([name, machine]) => {
    const named = new RegExp(`machine with ${name.replaceAll(".", "\\.")} `);
    for (const [trace, here] of [
      [TRACE, machine],
      [machine, TRACE],
    ] as const) {
      expect(() => checkFingerprint(trace, here)).toThrow(named);
      expect(() => checkFingerprint(trace, here)).toThrow(
        expect.objectContaining({ code: "E_TRACE_CONFIG" }) as Error,
      );
    }
  });

  test("nothing, where all is the same; a boot that one side does not know does not count", () => {
    checkFingerprint(TRACE, fingerprintOf(CONFIG, [DISK], CODECS));
    const { boot: _, ...restored } = CONFIG;
    const machine = fingerprintOf(restored, [DISK], CODECS);
    checkFingerprint(TRACE, machine);
    checkFingerprint(machine, TRACE);
  });
});

describe("the header", () => {
  const header = encodeTraceHeader(TRACE);

  test("[TR1] is read as it was written", () => {
    expect(decodeTraceHeader(header).fingerprint).toEqual(TRACE);
    const { boot: _, ...restored } = CONFIG;
    const other = fingerprintOf({ ...restored, net: undefined, disks: [] }, [], CODECS);
    expect(decodeTraceHeader(encodeTraceHeader(other)).fingerprint).toEqual(other);
  });

  test("[TR3] cut or damaged anywhere it is refused, or says something else", () => {
    for (let length = 0; length < header.length; length++) {
      expect(() => decodeTraceHeader(header.subarray(0, length))).toThrow(
        expect.objectContaining({ code: "E_TRACE_CORRUPT" }) as Error,
      );
    }
    for (let bit = 0; bit < header.length * 8; bit++) {
      const damaged = header.slice();
      damaged[bit >> 3] = (damaged[bit >> 3] ?? 0) ^ (1 << (bit & 7));
      try {
        expect(decodeTraceHeader(damaged).fingerprint).not.toEqual(TRACE);
      } catch (error) {
        expect(error).toMatchObject({ code: expect.stringMatching(/^E_TRACE_/) as string });
      }
    }
  });
});
