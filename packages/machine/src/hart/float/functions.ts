/**
 * The functions that floating-point instructions call when inline code does not suffice. They
 * live in the hart's module; a module of translated regions imports them by the same names.
 */
import type { IntType, ValType } from "../../wasm/expr.ts";
import type { FuncRef, ModuleBuilder } from "../../wasm/module.ts";

type Rounded1<A extends IntType, R extends IntType> = FuncRef<readonly ["i32", A], R>;
type Rounded2<B extends IntType> = FuncRef<readonly ["i32", B, B], B>;
type Rounded3<B extends IntType> = FuncRef<readonly ["i32", B, B, B], B>;

/** Accrues the flags it is given. */
export type AccrueRef = FuncRef<readonly ["i32"], undefined>;

/**
 * Functions of one format; operands and results are raw bits. A first parameter i32 is the rm
 * field: 0 .. 4, or 7 for what frm says.
 */
export interface FormatFunctions<B extends IntType> {
  readonly add: Rounded2<B>;
  readonly mul: Rounded2<B>;
  readonly div: Rounded2<B>;
  readonly sqrt: Rounded1<B, B>;
  /** a * b + c with one rounding. */
  readonly fma: Rounded3<B>;
  readonly fromL: Rounded1<"i64", B>;
  readonly fromLu: Rounded1<"i64", B>;
  /** What min and max give when at least one operand is a NaN. */
  readonly notNan: FuncRef<readonly [B, B], B>;
  /** Accrues NV if one operand is a signalling NaN. */
  readonly signal: FuncRef<readonly [B, B], undefined>;
  readonly classify: FuncRef<readonly [B], "i32">;
}

/** The functions of both formats, and those between them. */
export interface FloatFunctions {
  readonly d: FormatFunctions<"i64">;
  readonly s: FormatFunctions<"i32">;
  /** A double to an integer register. */
  readonly toW: Rounded1<"i64", "i32">;
  readonly toWu: Rounded1<"i64", "i32">;
  readonly toL: Rounded1<"i64", "i64">;
  readonly toLu: Rounded1<"i64", "i64">;
  /** A double to single. */
  readonly narrow: Rounded1<"i64", "i32">;
  /** A single NaN to the canonical double NaN. */
  readonly widenNan: FuncRef<readonly ["i32"], "i64">;
  readonly accrue: AccrueRef;
}

type Make = <const P extends readonly ValType[], R extends ValType | undefined = undefined>(
  name: string,
  params: P,
  result?: R,
) => FuncRef<P, R>;

function formatFunctions<B extends IntType>(make: Make, name: string, b: B): FormatFunctions<B> {
  return {
    add: make(`float.${name}.add`, ["i32", b, b], b),
    mul: make(`float.${name}.mul`, ["i32", b, b], b),
    div: make(`float.${name}.div`, ["i32", b, b], b),
    sqrt: make(`float.${name}.sqrt`, ["i32", b], b),
    fma: make(`float.${name}.fma`, ["i32", b, b, b], b),
    fromL: make(`float.${name}.fromL`, ["i32", "i64"], b),
    fromLu: make(`float.${name}.fromLu`, ["i32", "i64"], b),
    notNan: make(`float.${name}.notNan`, [b, b], b),
    signal: make(`float.${name}.signal`, [b, b]),
    classify: make(`float.${name}.classify`, [b], "i32"),
  };
}

function floatFunctions(make: Make): FloatFunctions {
  return {
    d: formatFunctions(make, "d", "i64"),
    s: formatFunctions(make, "s", "i32"),
    toW: make("float.toW", ["i32", "i64"], "i32"),
    toWu: make("float.toWu", ["i32", "i64"], "i32"),
    toL: make("float.toL", ["i32", "i64"], "i64"),
    toLu: make("float.toLu", ["i32", "i64"], "i64"),
    narrow: make("float.narrow", ["i32", "i64"], "i32"),
    widenNan: make("float.widenNan", ["i32"], "i64"),
    accrue: make("float.accrue", ["i32"]),
  };
}

/** Declares all of them; float.ts has them defined. */
export function declareFunctions(m: ModuleBuilder): FloatFunctions {
  return floatFunctions((name, params, result) => m.declare(name, params, result));
}

/** Imports all of them from `env`. */
export function importFunctions(m: ModuleBuilder): FloatFunctions {
  return floatFunctions((name, params, result) => m.import(name, params, result));
}

/** Exports all of them, for `importFunctions` of another module. */
export function exportFunctions(m: ModuleBuilder, functions: FloatFunctions): void {
  const { d, s, ...others } = functions;
  for (const group of [d, s, others]) {
    for (const func of Object.values<FuncRef>({ ...group })) m.export(func);
  }
}
