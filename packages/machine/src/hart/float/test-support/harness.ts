/** A module that exports every floating-point operation, with the state words to go with it. */
import {
  type Expr,
  type I32,
  type I64,
  type IntType,
  i32,
  type ValType,
} from "../../../wasm/expr.ts";
import { type Fn, ModuleBuilder } from "../../../wasm/module.ts";
import { createMemory, instantiate } from "../../../wasm/runtime.ts";
import { defineFloat, type FloatOps, type FormatOps, importFloat } from "../float.ts";
import { boxF32, unboxF32 } from "../format.ts";
import type { FloatState } from "../state.ts";

/** Rounding-mode fields with a static form, and "any": the field comes as a parameter. */
export const RM_FIELDS = [0, 1, 2, 3, 4, 7, "any"] as const;
export type RmField = (typeof RM_FIELDS)[number];

type Carrier = number | bigint;
export type Operation = (...operands: readonly Carrier[]) => Carrier;

const STATE: FloatState = { base: 256, fflags: 0, frm: 4, mode: 8 };

export interface Harness {
  /** An operation such as "d.add"; with "any" its rounding mode is the first operand. */
  rounded(name: string, rm: RmField): Operation;
  plain(name: string): Operation;
  /** "d.sub" of a second module that imports the first one's functions. */
  imported(name: string): Operation;
  /** Sets fflags and frm, FS being Dirty, and `mode` to match. */
  setState(fflags: number, frm: number): void;
  fflags(): number;
  recomputeMode(fsIsDirty: boolean): void;
  /** 0, or 1 for everything else. */
  mode(): number;
}

type Emit = (f: Fn, rm: I32, operands: readonly Expr[]) => Expr;

interface Entry {
  readonly params: readonly ValType[];
  readonly result: ValType;
  readonly emit: Emit;
}

type Entries = Map<string, Entry>;

const BINARY = ["add", "sub", "mul", "div"] as const;
const TERNARY = ["madd", "msub", "nmsub", "nmadd"] as const;
const TO_INTEGER = ["toW", "toWu", "toL", "toLu"] as const;
const FROM_INTEGER = ["fromW", "fromWu", "fromL", "fromLu"] as const;
const EXTREMES = ["min", "max", "sgnj", "sgnjn", "sgnjx"] as const;
const COMPARISONS = ["eq", "lt", "le"] as const;

/** The operations of one format that round. */
function roundedEntries<B extends IntType>(b: B, ops: FormatOps<B>): Entries {
  const entries: Entries = new Map();
  const put = (name: string, params: readonly ValType[], result: ValType, emit: Emit) =>
    entries.set(name, { params, result, emit });
  type Bits = Expr<B>;
  for (const name of BINARY) {
    put(name, [b, b], b, (f, rm, [x, y]) => ops[name](f, rm, x as Bits, y as Bits));
  }
  for (const name of TERNARY) {
    put(name, [b, b, b], b, (f, rm, [x, y, z]) =>
      ops[name](f, rm, x as Bits, y as Bits, z as Bits),
    );
  }
  put("sqrt", [b], b, (f, rm, [x]) => ops.sqrt(f, rm, x as Bits));
  for (const name of TO_INTEGER) {
    put(name, [b], "i64", (f, rm, [x]) => ops[name](f, rm, x as Bits));
  }
  for (const name of FROM_INTEGER) {
    put(name, ["i64"], b, (f, rm, [x]) => ops[name](f, rm, x as I64));
  }
  return entries;
}

/** The operations of one format that do not. */
function plainEntries<B extends IntType>(b: B, ops: FormatOps<B>): Entries {
  const entries: Entries = new Map();
  type Bits = Expr<B>;
  for (const name of [...EXTREMES, ...COMPARISONS]) {
    const result = name === "eq" || name === "lt" || name === "le" ? "i64" : b;
    const emit: Emit = (f, _rm, [x, y]) => ops[name](f, x as Bits, y as Bits);
    entries.set(name, { params: [b, b], result, emit });
  }
  const emit: Emit = (f, _rm, [x]) => ops.class(f, x as Bits);
  return entries.set("class", { params: [b], result: "i64", emit });
}

/** Names get the format in front: "d.add". */
function prefixed(format: "d" | "s", entries: Entries): readonly (readonly [string, Entry])[] {
  return [...entries].map(([name, entry]) => [`${format}.${name}`, entry]);
}

function allRounded(ops: FloatOps): Entries {
  const narrow: Entry = {
    params: ["i64"],
    result: "i32",
    emit: (f, rm, [a]) => ops.narrow(f, rm, a as I64),
  };
  return new Map([
    ...prefixed("d", roundedEntries("i64", ops.d)),
    ...prefixed("s", roundedEntries("i32", ops.s)),
    ["narrow", narrow],
  ]);
}

function allPlain(ops: FloatOps): Entries {
  const unary = (params: readonly ValType[], result: ValType, emit: Emit): Entry => ({
    params,
    result,
    emit,
  });
  return new Map([
    ...prefixed("d", plainEntries("i64", ops.d)),
    ...prefixed("s", plainEntries("i32", ops.s)),
    ["widen", unary(["i32"], "i64", (f, _rm, [a]) => ops.widen(f, a as I32))],
    ["box", unary(["i32"], "i64", (_f, _rm, [a]) => boxF32(a as I32))],
    ["unbox", unary(["i64"], "i32", (f, _rm, [a]) => unboxF32(f.let(a as I64)))],
  ]);
}

const MEMORY = { initialPages: 1, maximumPages: 1 };

/** The binary module. */
function buildModule(): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder(MEMORY);
  const ops = defineFloat(m, STATE);
  for (const [name, { params, result, emit }] of allRounded(ops)) {
    for (const rm of RM_FIELDS) {
      const all: readonly ValType[] = rm === "any" ? ["i32", ...params] : params;
      const func = m.declare(`${name}/${rm}`, all, result);
      m.define(func, (f, ...locals) => {
        if (rm === "any") f.return(emit(f, locals[0] as I32, locals.slice(1)));
        else f.return(emit(f, i32(rm), locals));
      });
      m.export(func);
    }
  }
  for (const [name, { params, result, emit }] of allPlain(ops)) {
    const func = m.declare(name, params, result);
    m.define(func, (f, ...locals) => f.return(emit(f, i32(0), locals)));
    m.export(func);
  }
  const recompute = m.declare("recomputeMode", ["i32"]);
  m.define(recompute, (f, fsIsDirty) => ops.recomputeMode(f, fsIsDirty));
  m.export(recompute);
  return m.finish();
}

/** A module that imports the functions instead of defining them, and exports "d.sub". */
function buildImporter(): Uint8Array<ArrayBuffer> {
  const m = new ModuleBuilder(MEMORY);
  const ops = importFloat(m, STATE);
  const func = m.declare("d.sub", ["i64", "i64"], "i64");
  m.define(func, (f, a, b) => f.return(ops.d.sub(f, i32(0), a, b)));
  m.export(func);
  return m.finish();
}

export function createHarness(): Harness {
  const memory = createMemory(MEMORY.initialPages);
  const exports = instantiate(buildModule(), { memory });
  const importer = instantiate(buildImporter(), { memory, ...exports });
  const words = new Int32Array(memory.buffer, STATE.base, 3);
  const find = (name: string, from = exports): Operation => {
    const found = from[name];
    if (typeof found !== "function") throw new Error(`no operation ${name}`);
    return found as Operation;
  };
  const recompute = find("recomputeMode");
  return {
    rounded: (name, rm) => find(`${name}/${rm}`),
    plain: (name) => find(name),
    imported: (name) => find(name, importer),
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
