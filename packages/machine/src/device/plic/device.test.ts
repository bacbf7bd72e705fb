import { AssertionError, CodedError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { fuzzRegisters } from "../../board/test-support/register-fuzz.ts";
import { Plic } from "./device.ts";
import * as wire from "./wire.ts";

type Levels = { m: boolean; s: boolean };

function make(): { readonly plic: Plic; readonly out: Levels } {
  const out = { m: false, s: false };
  const plic = new Plic({ output: (context, asserted) => (out[context] = asserted) });
  return { plic, out };
}

const CLAIM_S = wire.CONTEXT_BASE + wire.CONTEXT_STRIDE + wire.CONTEXT_CLAIM;
const THRESHOLD_S = wire.CONTEXT_BASE + wire.CONTEXT_STRIDE + wire.CONTEXT_THRESHOLD;
const ENABLE_S = wire.ENABLE_BASE + wire.ENABLE_STRIDE;

function enableForS(plic: Plic, sources: readonly number[], priority = 1): void {
  for (const source of sources) {
    plic.write(4 * source, 4, priority);
    const word = ENABLE_S + 4 * (source >> 5);
    plic.write(word, 4, (plic.read(word) | (1 << (source & 31))) >>> 0);
  }
}

describe("PLIC", () => {
  test("an enabled source with a priority above the threshold interrupts its context only", () => {
    const { plic, out } = make();
    enableForS(plic, [10]);
    plic.line(10).set(true);
    expect(out).toEqual({ m: false, s: true });
    plic.write(THRESHOLD_S, 4, 1);
    expect(out.s).toBe(false);
  });

  test("a claim takes the highest priority, then the lowest number, then the next", () => {
    const { plic, out } = make();
    enableForS(plic, [40, 3, 90]);
    plic.write(4 * 40, 4, 5);
    for (const source of [40, 3, 90]) plic.line(source).set(true);
    expect([plic.read(CLAIM_S), plic.read(CLAIM_S), plic.read(CLAIM_S)]).toEqual([40, 3, 90]);
    expect(plic.read(CLAIM_S)).toBe(0);
    expect(out.s).toBe(false);
  });

  test("a claim is not held back by the threshold", () => {
    const { plic } = make();
    enableForS(plic, [7]);
    plic.write(THRESHOLD_S, 4, 7);
    plic.line(7).set(true);
    expect(plic.read(CLAIM_S)).toBe(7);
  });

  test("a source being served interrupts again after completion, if its line is up", () => {
    const { plic, out } = make();
    enableForS(plic, [10]);
    const line = plic.line(10);
    line.set(true);
    expect(plic.read(CLAIM_S)).toBe(10);
    line.set(false);
    line.set(true);
    expect(out.s).toBe(false);
    plic.write(CLAIM_S, 4, 10);
    expect(out.s).toBe(true);
    plic.read(CLAIM_S);
    line.set(false);
    plic.write(CLAIM_S, 4, 10);
    expect(out.s).toBe(false);
  });

  test("a completion by a context that has not enabled the source is ignored", () => {
    const { plic, out } = make();
    enableForS(plic, [10]);
    plic.line(10).set(true);
    plic.read(CLAIM_S);
    plic.write(wire.CONTEXT_BASE + wire.CONTEXT_CLAIM, 4, 10);
    expect(out.s).toBe(false);
    plic.write(CLAIM_S, 4, 10);
    expect(out.s).toBe(true);
  });

  test("a pulse stays pending until it is claimed", () => {
    const { plic, out } = make();
    enableForS(plic, [12]);
    plic.line(12).set(true);
    plic.line(12).set(false);
    expect(out.s).toBe(true);
    expect(plic.read(wire.PENDING_BASE)).toBe(1 << 12);
    expect(plic.read(CLAIM_S)).toBe(12);
    expect(out.s).toBe(false);
  });

  test("source 0 does not exist", () => {
    const { plic } = make();
    plic.write(0, 4, 7);
    plic.write(ENABLE_S, 4, 0xffff_ffff);
    expect(plic.read(0)).toBe(0);
    expect(plic.read(ENABLE_S)).toBe(0xffff_fffe);
    expect(() => plic.line(0)).toThrow(AssertionError);
    expect(() => plic.line(wire.SOURCES)).toThrow(AssertionError);
  });

  test("restore drives the outputs of a used controller", () => {
    const saved = make().plic.save();
    const { plic, out } = make();
    enableForS(plic, [10]);
    plic.line(10).set(true);
    const busy = plic.save();
    plic.restore(saved);
    expect(out.s).toBe(false);
    plic.restore(busy);
    expect(out.s).toBe(true);
  });

  test("restore tells both contexts their levels, changed or not", () => {
    const told: string[] = [];
    const output = (context: string, asserted: boolean) => told.push(`${context} ${asserted}`);
    const plic = new Plic({ output });
    plic.restore(plic.save());
    expect(told).toEqual(["m false", "s false"]);
  });

  test("a state with source 0 or a missing context is refused", () => {
    const { plic } = make();
    const state = plic.save();
    const refused = [{ ...state, level: [1, 0, 0] }, { ...state, contexts: [] }, {}];
    for (const bad of refused) expect(() => plic.restore(bad)).toThrow(CodedError);
  });

  test("random traffic never throws and survives save and restore", () => {
    const contexts = [0, 1].flatMap((c) => [
      wire.ENABLE_BASE + c * wire.ENABLE_STRIDE,
      wire.ENABLE_BASE + c * wire.ENABLE_STRIDE + 4,
      wire.CONTEXT_BASE + c * wire.CONTEXT_STRIDE,
      wire.CONTEXT_BASE + c * wire.CONTEXT_STRIDE + wire.CONTEXT_CLAIM,
    ]);
    fuzzRegisters({
      seed: 0x911c,
      operations: 20_000,
      regionBytes: 0x60_0000,
      offsets: [4, 8, 40, 160, wire.PENDING_BASE, ...contexts],
      make: () => {
        const { plic, out } = make();
        return {
          device: plic,
          observe: () => out,
          disturb: (prng) => plic.line(1 + prng.below(wire.LAST_SOURCE)).set(prng.oneIn(2)),
        };
      },
    });
  });
});
