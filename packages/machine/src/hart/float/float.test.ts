import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { createHarness, expectedMode, RM_FIELDS, type RmField } from "./test-support/harness.ts";
import { integer, operand, related, specials } from "./test-support/operands.ts";
import {
  canonicalNan,
  REF_DOUBLE,
  REF_SINGLE,
  type RefFormat,
  type RefResult,
  refAdd,
  refClass,
  refCompare,
  refConvert,
  refDiv,
  refExtreme,
  refFma,
  refFromInteger,
  refMul,
  refSqrt,
  refToInteger,
} from "./test-support/reference.ts";

const harness = createHarness();

const FORMATS = [
  ["d", REF_DOUBLE],
  ["s", REF_SINGLE],
] as const;

function negated(format: RefFormat, bits: bigint): bigint {
  return bits ^ (1n << BigInt(format.width - 1));
}

/** Raw bits as a WebAssembly argument of the format's carrier. */
function carrier(format: RefFormat, bits: bigint): number | bigint {
  return format.width === 32 ? Number(bits) : bits;
}

function asBits(value: number | bigint): bigint {
  return typeof value === "number" ? BigInt(value >>> 0) : BigInt.asUintN(64, value);
}

interface Call {
  readonly name: string;
  readonly operands: readonly bigint[];
  readonly carriers: readonly (number | bigint)[];
}

function show(call: Call, rest: string): string {
  return `${call.name}(${call.operands.map((x) => `0x${x.toString(16)}`).join(", ")}) ${rest}`;
}

/** Runs a rounding operation and compares result, flags and `mode`. */
function checkRounded(
  call: Call,
  field: RmField,
  prng: Prng,
  reference: (rm: number) => RefResult,
): void {
  const before = prng.below(32);
  // Half of the time the state in which the inline path counts.
  const nearest = prng.oneIn(2);
  const frm = nearest ? 0 : prng.below(5);
  const fflags = nearest && prng.oneIn(2) ? before | 1 : before;
  const written = field === "any" ? prng.pick([0, 1, 2, 3, 4, 7]) : field;
  const rm = written === 7 ? frm : written;
  const want = reference(rm);
  harness.setState(fflags, frm);
  const run = harness.rounded(call.name, field);
  const got = field === "any" ? run(written, ...call.carriers) : run(...call.carriers);
  const what = show(call, `rm=${rm} field=${field} frm=${frm} fflags=${fflags}`);
  const after = fflags | want.flags;
  if (asBits(got) !== want.bits || harness.fflags() !== after) {
    expect({ bits: asBits(got).toString(16), fflags: harness.fflags() }, what).toEqual({
      bits: want.bits.toString(16),
      fflags: after,
    });
  }
  if (harness.mode() !== expectedMode(after, frm)) {
    expect(harness.mode(), what).toBe(expectedMode(after, frm));
  }
}

/** Checks `count` cases per rounding-mode field. */
function sweep(count: number, seed: number, once: (prng: Prng, field: RmField) => void): void {
  const prng = new Prng(seed);
  for (const field of RM_FIELDS) for (let i = 0; i < count; i++) once(prng, field);
}

function callOf(format: RefFormat, name: string, operands: readonly bigint[]): Call {
  return { name, operands, carriers: operands.map((bits) => carrier(format, bits)) };
}

describe.each(FORMATS)("%s arithmetic equals the reference in bits and flags", (letter, format) => {
  const CASES = 1200;
  const binaries = {
    add: (rm: number, a: bigint, b: bigint) => refAdd(format, rm, a, b),
    sub: (rm: number, a: bigint, b: bigint) => refAdd(format, rm, a, negated(format, b)),
    mul: (rm: number, a: bigint, b: bigint) => refMul(format, rm, a, b),
    div: (rm: number, a: bigint, b: bigint) => refDiv(format, rm, a, b),
  };
  test.each(Object.entries(binaries))("%s", (name, reference) => {
    sweep(CASES, 1, (prng, field) => {
      const a = operand(format, prng);
      const b = related(format, prng, a);
      const call = callOf(format, `${letter}.${name}`, [a, b]);
      checkRounded(call, field, prng, (rm) => reference(rm, a, b));
    });
  });
  test.each(Object.entries(binaries))("%s of all pairs of special values", (name, reference) => {
    const prng = new Prng(2);
    for (const a of specials(format)) {
      for (const b of specials(format)) {
        const call = callOf(format, `${letter}.${name}`, [a, b]);
        checkRounded(call, prng.pick(RM_FIELDS), prng, (rm) => reference(rm, a, b));
      }
    }
  });
  test("sqrt", () => {
    sweep(CASES, 3, (prng, field) => {
      const bits = operand(format, prng);
      const a = prng.oneIn(8) ? bits : bits & ~(1n << BigInt(format.width - 1));
      const call = callOf(format, `${letter}.sqrt`, [a]);
      checkRounded(call, field, prng, (rm) => refSqrt(format, rm, a));
    });
  });
  test.each([
    ["madd", false, false],
    ["msub", false, true],
    ["nmsub", true, false],
    ["nmadd", true, true],
  ])("%s", (name, negateProduct, negateAddend) => {
    sweep(CASES, 4, (prng, field) => {
      const a = operand(format, prng);
      const b = related(format, prng, a);
      const product = refMul(format, 0, a, b).bits;
      const c = related(format, prng, prng.oneIn(2) ? product : a);
      const x = negateProduct ? negated(format, a) : a;
      const z = negateAddend ? negated(format, c) : c;
      const call = callOf(format, `${letter}.${name}`, [a, b, c]);
      checkRounded(call, field, prng, (rm) => refFma(format, rm, [x, b, z]));
    });
  });
  test("madd of all triples of the corner values", () => {
    const prng = new Prng(5);
    const some = specials(format).filter((_, i) => i % 2 === 0);
    for (const a of some) {
      for (const b of some) {
        for (const c of some) {
          const call = callOf(format, `${letter}.madd`, [a, b, c]);
          checkRounded(call, prng.pick(RM_FIELDS), prng, (rm) => refFma(format, rm, [a, b, c]));
        }
      }
    }
  });
});

const INTEGER_TYPES = [
  ["W", 32, true],
  ["Wu", 32, false],
  ["L", 64, true],
  ["Lu", 64, false],
] as const;

describe.each(FORMATS)("%s conversions equal the reference in bits and flags", (letter, format) => {
  const CASES = 800;
  test.each(INTEGER_TYPES)("to %s", (suffix, width, signed) => {
    sweep(CASES, 6, (prng, field) => {
      // Often an integer, a half, or their neighbours, around the limits too.
      const near = refFromInteger(format, 0, integer(prng) - (prng.oneIn(2) ? 0n : 1n << 63n));
      const scaled = refMul(format, 0, near.bits, refFromInteger(format, 0, 1n).bits).bits;
      const halved = scaled - (1n << BigInt(format.fractionBits)) * BigInt(prng.below(3));
      const a = prng.oneIn(3)
        ? operand(format, prng)
        : BigInt.asUintN(format.width, halved + BigInt(prng.below(3) - 1));
      const call = callOf(format, `${letter}.to${suffix}`, [a]);
      checkRounded(call, field, prng, (rm) => refToInteger(format, rm, a, { width, signed }));
    });
  });
  test.each(INTEGER_TYPES)("from %s", (suffix, width, signed) => {
    sweep(CASES, 7, (prng, field) => {
      const x = integer(prng);
      const value = signed ? BigInt.asIntN(width, x) : BigInt.asUintN(width, x);
      const call = { name: `${letter}.from${suffix}`, operands: [x], carriers: [x] };
      checkRounded(call, field, prng, (rm) => refFromInteger(format, rm, value));
    });
  });
});

describe("conversions between formats equal the reference in bits and flags", () => {
  test("narrow", () => {
    const once = (prng: Prng, field: RmField) => {
      const wide = refConvert([REF_SINGLE, REF_DOUBLE], 0, operand(REF_SINGLE, prng)).bits;
      const a = prng.oneIn(2)
        ? operand(REF_DOUBLE, prng)
        : BigInt.asUintN(64, wide + prng.pick([0n, 1n, -1n, 1n << 28n, (1n << 28n) - 1n]));
      const call = callOf(REF_DOUBLE, "narrow", [a]);
      checkRounded(call, field, prng, (rm) => refConvert([REF_DOUBLE, REF_SINGLE], rm, a));
    };
    sweep(2000, 8, once);
  });
  test("widen", () => {
    const prng = new Prng(9);
    for (const a of [...specials(REF_SINGLE), ...many(prng, 2000, REF_SINGLE)]) {
      const want = refConvert([REF_SINGLE, REF_DOUBLE], 0, a);
      checkPlain(callOf(REF_SINGLE, "widen", [a]), want);
    }
  });
});

function many(prng: Prng, count: number, format: RefFormat): readonly bigint[] {
  return Array.from({ length: count }, () => operand(format, prng));
}

/** Runs an operation that does not round. */
function checkPlain(call: Call, want: RefResult): void {
  harness.setState(0, 0);
  const got = asBits(harness.plain(call.name)(...call.carriers));
  if (got !== want.bits || harness.fflags() !== want.flags) {
    expect({ bits: got.toString(16), flags: harness.fflags() }, show(call, "")).toEqual({
      bits: want.bits.toString(16),
      flags: want.flags,
    });
  }
}

describe.each(FORMATS)("%s comparisons equal the reference in bits and flags", (letter, format) => {
  const sign = 1n << BigInt(format.width - 1);
  const quietly = (bits: bigint): RefResult => ({ bits, flags: 0 });
  test.each<[string, (a: bigint, b: bigint) => RefResult]>([
    ["eq", (a, b) => refCompare(format, "eq", a, b)],
    ["lt", (a, b) => refCompare(format, "lt", a, b)],
    ["le", (a, b) => refCompare(format, "le", a, b)],
    ["min", (a, b) => refExtreme(format, "min", a, b)],
    ["max", (a, b) => refExtreme(format, "max", a, b)],
    ["sgnj", (a, b) => quietly((a & ~sign) | (b & sign))],
    ["sgnjn", (a, b) => quietly((a & ~sign) | (~b & sign))],
    ["sgnjx", (a, b) => quietly(a ^ (b & sign))],
  ])("%s", (name, reference) => {
    const prng = new Prng(10);
    const pairs = specials(format).flatMap((a) => specials(format).map((b) => [a, b] as const));
    for (let i = 0; i < 1500; i++) {
      const a = operand(format, prng);
      pairs.push([a, prng.oneIn(3) ? a : related(format, prng, a)]);
    }
    for (const [a, b] of pairs) {
      checkPlain(callOf(format, `${letter}.${name}`, [a, b]), reference(a, b));
    }
  });
  test("class", () => {
    const prng = new Prng(11);
    for (const a of [...specials(format), ...many(prng, 1500, format)]) {
      checkPlain(callOf(format, `${letter}.class`, [a]), quietly(refClass(format, a)));
    }
  });
});

describe("NaN boxing", () => {
  test("a boxed single has an upper half of ones and reads back as it was", () => {
    for (const bits of specials(REF_SINGLE)) {
      const boxed = harness.plain("box")(Number(bits));
      expect(asBits(boxed)).toBe((0xffff_ffffn << 32n) | bits);
      expect(asBits(harness.plain("unbox")(boxed))).toBe(bits);
    }
  });
  test("a register that is not a boxed single reads as canonical NaN", () => {
    for (const bits of [0n, 0x3f80_0000n, 0xffff_fffe_3f80_0000n, 0x7fff_ffff_3f80_0000n]) {
      expect(asBits(harness.plain("unbox")(bits))).toBe(canonicalNan(REF_SINGLE));
    }
  });
});

describe("mode", () => {
  test.each([
    [1, 0, true, 0],
    [31, 0, true, 0],
    [1, 0, false, 1],
    [30, 0, true, 1],
    [1, 1, true, 1],
    [1, 7, true, 1],
    [0, 4, false, 1],
  ])("is 0 only with NX accrued, RNE and FS Dirty: fflags=%i frm=%i dirty=%s", (...args) => {
    const [fflags, frm, dirty, want] = args;
    harness.setState(fflags, frm);
    harness.recomputeMode(dirty);
    expect(harness.mode()).toBe(want);
  });
});

describe("another module", () => {
  test("computes inline and by the imported functions, on the same state", () => {
    const three = refFromInteger(REF_DOUBLE, 0, 3n).bits;
    const huge = refFromInteger(REF_DOUBLE, 0, 1n << 62n).bits;
    for (const fflags of [0, 1]) {
      harness.setState(fflags, 0);
      expect(asBits(harness.imported("d.sub")(huge, three))).toBe(huge);
      expect([harness.fflags(), harness.mode()]).toEqual([1, 0]);
    }
  });
});
