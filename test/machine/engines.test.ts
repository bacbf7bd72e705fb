/** In which tier code runs, and when it is translated, is invisible; engines.slow.test.ts: more. */
import { EAGER_JIT, NO_JIT } from "@dejavm/machine";
import { afterEach, describe, expect, test, vi } from "vitest";
import { pagedProgram } from "./programs/paged.ts";
import { compareEngines, programsOf } from "./support/engines.ts";
import { Guest } from "./support/guest.ts";

afterEach(() => void vi.restoreAllMocks());

describe.each([1, 2])("seed %i", (seed) => {
  test.each(programsOf(seed))("[EN1] $name", (program) => {
    expect(compareEngines(program, { seed, length: 6000, stride: 500 })).toBeUndefined();
  });
});

const program = pagedProgram("sv39", 7);
/** What `vi.spyOn` needs to know of a namespace that only browsers' type libraries declare. */
const { WebAssembly: wasm } = globalThis as unknown as {
  readonly WebAssembly: { Module: new (bytes: Uint8Array) => object };
};

test("[EN3] where the host cannot compile, the interpreter goes on, and statistics say so", () => {
  const expected = Guest.on({ jit: NO_JIT }, program);
  const guest = Guest.on({ jit: EAGER_JIT }, program);
  vi.spyOn(wasm, "Module").mockImplementation(function refuse() {
    throw new RangeError("out of memory");
  });
  expected.runTo(program.length);
  guest.runTo(program.length);
  expect(guest.machine.digest()).toBe(expected.machine.digest());
  expect(guest.machine.statistics).toMatchObject({ regions: 0, translated: 0n });
  expect(guest.machine.statistics.failures).toBeGreaterThan(0);
});

test("[EN4] code stays within its bound: at the bound all of it goes", () => {
  const maxCodeBytes = 4000;
  const guest = Guest.on({ jit: { ...EAGER_JIT, maxCodeBytes } }, program);
  let most = 0;
  for (let at = 20; at <= program.length; at += 20) {
    guest.runTo(at);
    most = Math.max(most, guest.machine.statistics.codeBytes);
  }
  expect(guest.machine.statistics.flushes).toBeGreaterThan(1);
  // The module that passes the bound is the last before everything goes.
  expect(most).toBeLessThan(4 * maxCodeBytes);
});
