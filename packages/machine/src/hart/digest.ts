/**
 * A 128-bit hash of one page, computed inside the module: four lanes of multiply-rotate over
 * 64-bit words, folded twice with different constants. It guards against accident, not malice.
 * A page of zeros hashes to 0, so that memory never touched costs nothing.
 *
 *   hash_page(address, seed): hashes 4,096 bytes; the halves land in hashLow and hashHigh.
 */

import type { I64 } from "../wasm/expr.ts";
import {
  add,
  eqz,
  extendU,
  i32,
  i64,
  load64,
  ltU,
  mul,
  or,
  rotl,
  shrU,
  xor,
} from "../wasm/expr.ts";
import type { Fn, FuncRef, Local } from "../wasm/module.ts";
import { type HartBuilder, set64 } from "./builder.ts";

const LANE_PRIMES = [
  0x9e3779b185ebca87n,
  0xc2b2ae3d27d4eb4fn,
  0x165667b19e3779f9n,
  0x85ebca77c2b2ae63n,
] as const;
const SEED_PRIME = 0xff51afd7ed558ccdn;
const FINAL_PRIMES = [0x27d4eb2f165667c5n, 0xd6e8feb86659fd93n] as const;

/** Defines `hash_page`; see the head of this file. */
export function defineDigest(b: HartBuilder): FuncRef {
  const ref = b.m.declare("hash_page", ["i32", "i32"]);
  b.m.define(ref, (f, address, seed) => {
    const start = f.let(mul(extendU(seed), i64(SEED_PRIME)));
    const lanes = LANE_PRIMES.map((prime) => f.let(xor(start, i64(prime))));
    const any = f.let(i64(0));
    const offset = f.let(i32(0));
    f.while(ltU(offset, i32(4096)), () => {
      for (const [i, lane] of lanes.entries()) {
        const word = f.let(load64(add(address, offset), i * 8));
        f.set(any, or(any, word));
        const mixed = mul(add(lane, word), i64(LANE_PRIMES[(i + 1) % 4] as bigint));
        f.set(lane, xor(rotl(mixed, i64(29)), word));
      }
      f.set(offset, add(offset, i32(32)));
    });
    for (const [half, prime] of FINAL_PRIMES.entries()) {
      const folded = fold(f, lanes, prime);
      f.if(eqz(any), () => f.set(folded, i64(0)));
      set64(f, half === 0 ? "hashLow" : "hashHigh", folded);
    }
  });
  return ref;
}

/** One word out of four lanes, by the finalizer of splitmix64 between additions. */
function fold(f: Fn, lanes: readonly Local<"i64">[], prime: bigint): Local<"i64"> {
  const sum = f.let(i64(prime));
  for (const lane of lanes) {
    f.set(sum, mul(xor(sum, lane), i64(prime)));
    f.set(sum, xor(sum, shrU(sum, i64(31))));
  }
  f.set(sum, finish(f, sum));
  return sum;
}

function finish(f: Fn, value: I64): I64 {
  const a = f.let(xor(value, shrU(value, i64(30))));
  const c = f.let(mul(a, i64(0xbf58476d1ce4e5b9n)));
  const d = f.let(mul(xor(c, shrU(c, i64(27))), i64(0x94d049bb133111ebn)));
  // Never 0: that is what a page of zeros has.
  const e = f.let(xor(d, shrU(d, i64(31))));
  return add(e, extendU(eqz(e)));
}
