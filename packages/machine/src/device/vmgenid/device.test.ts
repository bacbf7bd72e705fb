import { AssertionError, CodedError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { fuzzRegisters } from "../../board/test-support/register-fuzz.ts";
import { GENERATION_ID_BYTES, GenerationId } from "./device.ts";

const FIRST = Uint8Array.from({ length: GENERATION_ID_BYTES }, (_, i) => i + 1);

function make(): { readonly device: GenerationId; readonly edges: boolean[] } {
  const edges: boolean[] = [];
  const irq = { set: (asserted: boolean): void => void edges.push(asserted) };
  return { device: new GenerationId({ irq, id: FIRST }), edges };
}

describe("generation id", () => {
  test("reads as its bytes in memory, 0 beyond them, and cannot be written", () => {
    const { device } = make();
    device.write();
    expect(device.read(0, 4)).toBe(0x0403_0201);
    expect(device.read(14, 2)).toBe(0x100f);
    expect(device.read(15, 1)).toBe(0x10);
    expect(device.read(16, 1)).toBe(0);
  });

  test("a change is one interrupt pulse", () => {
    const { device, edges } = make();
    device.change(new Uint8Array(GENERATION_ID_BYTES).fill(9));
    expect(edges).toEqual([true, false]);
    expect(device.read(0, 1)).toBe(9);
    expect(() => device.change(new Uint8Array(15))).toThrow(AssertionError);
  });

  test("restore gives back the id without an interrupt and refuses one of another length", () => {
    const { device, edges } = make();
    const state = device.save();
    device.change(new Uint8Array(GENERATION_ID_BYTES));
    edges.length = 0;
    device.restore(state);
    expect(device.read(0, 1)).toBe(1);
    expect(edges).toEqual([]);
    expect(() => device.restore({ id: new Uint8Array(15) })).toThrow(CodedError);
  });

  test("random traffic never throws and survives save and restore", () => {
    fuzzRegisters({
      seed: 0x6e1d,
      operations: 20_000,
      regionBytes: 0x1000,
      offsets: [0, 4, 8, 12, 16],
      make: () => {
        const { device, edges } = make();
        return {
          device,
          observe: () => edges.splice(0),
          disturb: (prng) => device.change(prng.fill(new Uint8Array(GENERATION_ID_BYTES))),
        };
      },
    });
  });
});
