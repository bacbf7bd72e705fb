/** Random register traffic for any device, and what must hold of save and restore meanwhile. */
import { Prng } from "@dejavm/base";
import { expect } from "vitest";
import type { Device } from "../../device/device.ts";

/** A device under test beside everything that it drives or that drives it. */
export interface Bench {
  readonly device: Device;
  /** What the outside sees: interrupt levels, outputs so far, ... Compared between twins. */
  observe(): unknown;
  /** Something happens from outside: a line rises, a byte arrives, time passes. */
  disturb(prng: Prng): void;
}

/** `offsets` are where the interesting registers are; other offsets are tried seldom. */
export interface FuzzOptions {
  readonly seed: number;
  readonly operations: number;
  readonly regionBytes: number;
  readonly offsets: readonly number[];
  make(): Bench;
}

/**
 * Two benches get the same traffic; now and then one device's state moves into the other, used
 * differently before. Any difference between them afterwards, and any exception, fails.
 */
export function fuzzRegisters(options: FuzzOptions): void {
  const prng = new Prng(options.seed);
  let left = options.make();
  let right = options.make();
  for (let i = 0; i < options.operations; i++) {
    if (prng.oneIn(500)) {
      const used = options.make();
      const noise = new Prng(prng.u32());
      for (let j = 0; j < 20; j++) step(used, options, noise);
      const saved = left.device.save();
      used.device.restore(saved);
      expect(used.device.save()).toEqual(saved);
      right = options.make();
      right.device.restore(saved);
      left = used;
      expect(right.device.save()).toEqual(saved);
    }
    const seed = prng.u32();
    const a = step(left, options, new Prng(seed));
    const b = step(right, options, new Prng(seed));
    if (a !== b) expect.fail(`operation ${i} (seed ${options.seed}) gave ${a} and ${b}`);
  }
  expect(left.device.save()).toEqual(right.device.save());
}

function step(bench: Bench, options: FuzzOptions, prng: Prng): string {
  const { device } = bench;
  const width = prng.pick(device.widths);
  const anywhere = prng.below(options.regionBytes / 4) * 4;
  const offset = prng.oneIn(20) ? anywhere : prng.pick(options.offsets);
  const value = prng.oneIn(3) ? prng.u32() : prng.below(256);
  const masked = width === 4 ? value : value & ((1 << (8 * width)) - 1);
  let read = 0;
  switch (prng.below(5)) {
    case 0:
      bench.disturb(prng);
      break;
    case 1:
    case 2:
      read = device.read(offset, width);
      expect(Number.isInteger(read) && read >= 0 && read <= 0xffff_ffff).toBe(true);
      break;
    default:
      device.write(offset, width, masked);
  }
  return JSON.stringify([read, bench.observe()]);
}
