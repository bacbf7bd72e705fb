/** A module that exports every floating-point operation, with the state words to go with it. */
import type { Expr, I32, I64, ValType } from "../../../wasm/expr.ts";
import { type Fn, ModuleBuilder } from "../../../wasm/module.ts";
import { defineFloat, type FloatOps } from "../float.ts";
import { boxF32, unboxF32 } from "../format.ts";
import { type FloatState, ROUND, type Rounding } from "../state.ts";

/** Rounding-mode fields with a static form, and "any": the field comes as a parameter. */
export const RM_FIELDS = [0, 1, 2, 3, 4, 7, "any"] as const;
export type RmField = (typeof RM_FIELDS)[number];

type Carrier = number | bigint;
export type Operation = (...operands: readonly Carrier[]) => Carrier;

export const STATE: FloatState = { base: 256, fflags: 0, frm: 4, mode: 8 };

export interface Harness {
  /** An operation by its name in `FloatOps`; with "any" its rounding mode is the first operand. */
  rounded(name: string, rm: RmField): Operation;
  plain(name: string): Operation;
  /** Sets fflags and frm, FS being Dirty, and `mode` to match. */
  setState(fflags: number, frm: number): void;
  fflags(): number;
  recomputeMode(fsIsDirty: boolean): void;
  /** 0, or 1 for everything else. */
  mode(): number;
}

type Emit = (f: Fn, rm: Rounding, operands: readonly Expr[]) => Expr;

interface Entry {
  readonly params: readonly ValType[];
  readonly result: ValType;
  readonly emit: Emit;
}

const BINARY = ["add", "sub", "mul", "div"] as const;
const TERNARY = ["madd", "msub", "nmsub", "nmadd"] as const;
const INTEGERS = ["w", "wu", "l", "lu"] as const;

/** The operations that round. */
function roundedEntries(ops: FloatOps): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  const put = (name: string, params: readonly ValType[], result: ValType, emit: Emit) =>
    entries.set(name, { params, result, emit });
  for (const n of BINARY) {
    put(`${n}D`, ["i64", "i64"], "i64", (f, rm, [a, b]) =>
      ops[`${n}D`](f, rm, a as I64, b as I64),
    );
    put(`${n}S`, ["i32", "i32"], "i32", (f, rm, [a, b]) =>
      ops[`${n}S`](f, rm, a as I32, b as I32),
    );
  }
  for (const n of TERNARY) {
    put(`${n}D`, ["i64", "i64", "i64"], "i64", (f, rm, [a, b, c]) =>
      ops[`${n}D`](f, rm, a as I64, b as I64, c as I64),
    );
    put(`${n}S`, ["i32", "i32", "i32"], "i32", (f, rm, [a, b, c]) =>
      ops[`${n}S`](f, rm, a as I32, b as I32, c as I32),
    );
  }
  put("sqrtD", ["i64"], "i64", (f, rm, [a]) => ops.sqrtD(f, rm, a as I64));
  put("sqrtS", ["i32"], "i32", (f, rm, [a]) => ops.sqrtS(f, rm, a as I32));
  for (const n of INTEGERS) {
    const result = n.startsWith("w") ? "i32" : "i64";
    put(`${n}FromD`, ["i64"], result, (f, rm, [a]) => ops[`${n}FromD`](f, rm, a as I64));
    put(`${n}FromS`, ["i32"], result, (f, rm, [a]) => ops[`${n}FromS`](f, rm, a as I32));
  }
  put("dFromW", ["i32"], "i64", (f, _rm, [a]) => ops.dFromW(f, a as I32));
  put("dFromWu", ["i32"], "i64", (f, _rm, [a]) => ops.dFromWu(f, a as I32));
  put("dFromL", ["i64"], "i64", (f, rm, [a]) => ops.dFromL(f, rm, a as I64));
  put("dFromLu", ["i64"], "i64", (f, rm, [a]) => ops.dFromLu(f, rm, a as I64));
  put("sFromW", ["i32"], "i32", (f, rm, [a]) => ops.sFromW(f, rm, a as I32));
  put("sFromWu", ["i32"], "i32", (f, rm, [a]) => ops.sFromWu(f, rm, a as I32));
  put("sFromL", ["i64"], "i32", (f, rm, [a]) => ops.sFromL(f, rm, a as I64));
  put("sFromLu", ["i64"], "i32", (f, rm, [a]) => ops.sFromLu(f, rm, a as I64));
  put("sFromD", ["i64"], "i32", (f, rm, [a]) => ops.sFromD(f, rm, a as I64));
  return entries;
}

const EXTREMES = ["min", "max"] as const;
const COMPARISONS = ["eq", "lt", "le"] as const;

/** The operations that do not. */
function plainEntries(ops: FloatOps): Map<string, Entry> {
  const entries = new Map<string, Entry>();
  const put = (name: string, params: readonly ValType[], result: ValType, emit: Emit) =>
    entries.set(name, { params, result, emit });
  for (const n of EXTREMES) {
    put(`${n}D`, ["i64", "i64"], "i64", (f, _rm, [a, b]) => ops[`${n}D`](f, a as I64, b as I64));
    put(`${n}S`, ["i32", "i32"], "i32", (f, _rm, [a, b]) => ops[`${n}S`](f, a as I32, b as I32));
  }
  for (const n of COMPARISONS) {
    put(`${n}D`, ["i64", "i64"], "i32", (f, _rm, [a, b]) => ops[`${n}D`](f, a as I64, b as I64));
    put(`${n}S`, ["i32", "i32"], "i32", (f, _rm, [a, b]) => ops[`${n}S`](f, a as I32, b as I32));
  }
  put("classD", ["i64"], "i32", (f, _rm, [a]) => ops.classD(f, a as I64));
  put("classS", ["i32"], "i32", (f, _rm, [a]) => ops.classS(f, a as I32));
  put("dFromS", ["i32"], "i64", (f, _rm, [a]) => ops.dFromS(f, a as I32));
  put("box", ["i32"], "i64", (_f, _rm, [a]) => boxF32(a as I32));
  put("unbox", ["i64"], "i32", (f, _rm, [a]) => unboxF32(f.let(a as I64)));
  return entries;
}

/** The binary module. */
export function buildModule(): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder({ initialPages: 1, maximumPages: 1 });
  const ops = defineFloat(m, STATE);
  const rounded = roundedEntries(ops);
  for (const [name, { params, result, emit }] of rounded) {
    for (const rm of RM_FIELDS) {
      const all: readonly ValType[] = rm === "any" ? ["i32", ...params] : params;
      const func = m.declare(`${name}/${rm}`, all, result);
      m.define(func, (f, ...locals) => {
        if (rm === "any") f.return(emit(f, locals[0] as I32, locals.slice(1)));
        else f.return(emit(f, rm, locals));
      });
      m.export(func);
    }
  }
  for (const [name, { params, result, emit }] of plainEntries(ops)) {
    const func = m.declare(name, params, result);
    m.define(func, (f, ...locals) => f.return(emit(f, ROUND.RNE, locals)));
    m.export(func);
  }
  const recompute = m.declare("recomputeMode", ["i32"]);
  m.define(recompute, (f, fsIsDirty) => ops.recomputeMode(f, fsIsDirty));
  m.export(recompute);
  return m.finish();
}

export function createHarness(): Harness {
  const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });
  const module = new WebAssembly.Module(buildModule());
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const words = new Int32Array(memory.buffer, STATE.base, 3);
  const find = (name: string): Operation => {
    const found = exports[name];
    if (typeof found !== "function") throw new Error(`no operation ${name}`);
    return found as Operation;
  };
  const recompute = find("recomputeMode");
  return {
    rounded: (name, rm) => find(`${name}/${rm}`),
    plain: find,
    setState: (fflags, frm) => {
      words[0] = fflags;
      words[1] = frm;
      words[2] = expectedMode(fflags, frm);
    },
    fflags: () => words[0] ?? 0,
    recomputeMode: (fsIsDirty) => recompute(fsIsDirty ? 1 : 0),
    mode: () => (words[2] === 0 ? 0 : 1),
  };
}

/** 0 only if NX is accrued and frm is RNE. */
export function expectedMode(fflags: number, frm: number): number {
  return (fflags & 1) === 1 && frm === 0 ? 0 : 1;
}
