/**
 * Builds one WebAssembly module: imports, functions, exports, branch hints. Functions may be
 * declared first and defined later, so that they can call each other. `Fn` is the statement
 * side: each call appends instructions to the function at once.
 */
import { assert } from "@dejavm/base";
import { CodeBuffer } from "./code.ts";
import { type Expr, type I32, type I64, i32, VAL_TYPE_CODE, type ValType } from "./expr.ts";

/** Parameter and result types of a function; at most one result. */
export interface Signature {
  readonly params: readonly ValType[];
  readonly result: ValType | undefined;
}

/** A function of the module under construction: imported, declared or defined. */
export interface FuncRef<
  P extends readonly ValType[] = readonly ValType[],
  R extends ValType | undefined = ValType | undefined,
> {
  readonly name: string;
  readonly signature: { readonly params: P; readonly result: R };
  readonly index: number;
}

/** The parameters of a function as variables of its body. */
export type Params<P extends readonly ValType[]> = { [K in keyof P]: Local<P[K]> };

/** Whether a branch is expected to be taken (branch hinting proposal). */
export type Hint = "likely" | "unlikely";

/** A branch target: a `block` (its end) or a `loop` (its head). */
export interface Label {
  readonly depth: number;
}

const OP = {
  unreachable: 0x00,
  block: 0x02,
  loop: 0x03,
  if: 0x04,
  else: 0x05,
  end: 0x0b,
  br: 0x0c,
  brIf: 0x0d,
  brTable: 0x0e,
  return: 0x0f,
  call: 0x10,
  callIndirect: 0x11,
  returnCall: 0x12,
  returnCallIndirect: 0x13,
  drop: 0x1a,
  localGet: 0x20,
  localSet: 0x21,
  localTee: 0x22,
  memory: 0xfc,
} as const;

const EMPTY_BLOCK = 0x40;
const FUNCREF = 0x70;

/** Limits that V8 and the other engines share (WebAssembly JS API, "Implementation limits"). */
const MAX_FUNCTION_LOCALS = 50_000;

/** A local variable or parameter; as an expression it reads the variable. */
export class Local<T extends ValType = ValType> implements Expr<T> {
  readonly type: T;
  readonly index: number;

  constructor(type: T, index: number) {
    this.type = type;
    this.index = index;
  }

  emit(out: CodeBuffer): void {
    out.byte(OP.localGet);
    out.u32(this.index);
  }
}

/** A call with a result, as an expression. */
export function call<R extends ValType>(
  func: FuncRef<readonly ValType[], R>,
  ...args: readonly Expr[]
): Expr<R> {
  return { type: func.signature.result, emit: (out) => emitCall(out, func, args) };
}

/** A call of a function that is known by its index only to return an i32. */
export function callI32(func: FuncRef, ...args: readonly Expr[]): I32 {
  assert(func.signature.result === "i32", `${func.name} does not return an i32`);
  return { type: "i32", emit: (out) => emitCall(out, func, args) };
}

/** A call of a function that is known by its index only to return an i64. */
export function callI64(func: FuncRef, ...args: readonly Expr[]): I64 {
  assert(func.signature.result === "i64", `${func.name} does not return an i64`);
  return { type: "i64", emit: (out) => emitCall(out, func, args) };
}

function emitCall(out: CodeBuffer, func: FuncRef, args: readonly Expr[]): void {
  const { params } = func.signature;
  assert(
    args.length === params.length && args.every((arg, i) => arg.type === params[i]),
    `call of ${func.name}(${params.join()}) with (${args.map((a) => a.type).join()})`,
  );
  for (const arg of args) arg.emit(out);
  out.byte(OP.call);
  out.u32(func.index);
}

/** A function type of the module, for calls through the table. */
export interface TypeRef<
  P extends readonly ValType[] = readonly ValType[],
  R extends ValType | undefined = ValType | undefined,
> {
  readonly index: number;
  readonly signature: { readonly params: P; readonly result: R };
}

/** A call through the imported table, as an expression. */
export function callIndirect<R extends ValType>(
  type: TypeRef<readonly ValType[], R>,
  slot: I32,
  ...args: readonly Expr[]
): Expr<R> {
  return {
    type: type.signature.result,
    emit: (out) => {
      for (const arg of args) arg.emit(out);
      slot.emit(out);
      out.byte(OP.callIndirect);
      out.u32(type.index);
      out.u32(0);
    },
  };
}

/** The body of one function. Statements append instructions in the order they are called. */
export class Fn {
  readonly code = new CodeBuffer();
  readonly hints: { readonly offset: number; readonly likely: boolean }[] = [];
  readonly #params: number;
  readonly #locals: ValType[] = [];
  readonly #free = new Map<ValType, Local[]>();
  #scope: Local[] | undefined;
  #depth = 0;

  constructor(params: number) {
    this.#params = params;
  }

  get localTypes(): readonly ValType[] {
    return this.#locals;
  }

  /** A fresh variable (zero at first use only if never recycled: set it before reading). */
  local<T extends ValType>(type: T): Local<T> {
    const recycled = this.#free.get(type)?.pop() as Local<T> | undefined;
    const local = recycled ?? new Local(type, this.#params + this.#locals.length);
    if (recycled === undefined) {
      assert(this.#locals.length < MAX_FUNCTION_LOCALS, "too many locals");
      this.#locals.push(type);
    }
    this.#scope?.push(local);
    return local;
  }

  /** Computes `value` now and keeps it in a variable. */
  let<T extends ValType>(value: Expr<T>): Local<T> {
    const local = this.local(value.type);
    this.set(local, value);
    return local;
  }

  set<T extends ValType>(local: Local<T>, value: Expr<T>): void {
    value.emit(this.code);
    this.code.byte(OP.localSet);
    this.code.u32(local.index);
  }

  /** Variables made inside `body` are free for reuse after it. */
  scope(body: () => void): void {
    const outer = this.#scope;
    const mine: Local[] = [];
    this.#scope = mine;
    body();
    for (const local of mine) {
      const list = this.#free.get(local.type) ?? [];
      list.push(local);
      this.#free.set(local.type, list);
    }
    this.#scope = outer;
  }

  /** Stores to linear memory at `address + offset`. */
  store8(address: I32, value: Expr<"i32" | "i64">, offset = 0): void {
    this.#store(value.type === "i32" ? 0x3a : 0x3c, 0, address, value, offset);
  }
  store16(address: I32, value: Expr<"i32" | "i64">, offset = 0): void {
    this.#store(value.type === "i32" ? 0x3b : 0x3d, 1, address, value, offset);
  }
  /** The low 32 bits of an i64, or an i32. */
  store32(address: I32, value: Expr<"i32" | "i64">, offset = 0): void {
    this.#store(value.type === "i32" ? 0x36 : 0x3e, 2, address, value, offset);
  }
  store64(address: I32, value: I64, offset = 0): void {
    this.#store(0x37, 3, address, value, offset);
  }
  storeF64(address: I32, value: Expr<"f64">, offset = 0): void {
    this.#store(0x39, 3, address, value, offset);
  }

  memoryFill(address: I32, byte: I32, count: I32): void {
    address.emit(this.code);
    byte.emit(this.code);
    count.emit(this.code);
    this.code.byte(OP.memory);
    this.code.u32(11);
    this.code.byte(0);
  }

  memoryCopy(target: I32, source: I32, count: I32): void {
    target.emit(this.code);
    source.emit(this.code);
    count.emit(this.code);
    this.code.byte(OP.memory);
    this.code.u32(10);
    this.code.byte(0);
    this.code.byte(0);
  }

  if(condition: I32, then: () => void, otherwise?: () => void, hint?: Hint): void {
    condition.emit(this.code);
    this.#hint(hint);
    this.#open(OP.if);
    then();
    if (otherwise !== undefined) {
      this.code.byte(OP.else);
      otherwise();
    }
    this.#close();
  }

  /** `label` branches to the end of the block. */
  block(body: (label: Label) => void): void {
    this.#open(OP.block);
    body({ depth: this.#depth });
    this.#close();
  }

  /** `label` branches to the head of the loop; falling off the end leaves it. */
  loop(body: (label: Label) => void): void {
    this.#open(OP.loop);
    body({ depth: this.#depth });
    this.#close();
  }

  /** `while (condition) body` */
  while(condition: I32, body: () => void): void {
    this.block((done) => {
      this.loop((again) => {
        this.brIf(done, not(condition));
        body();
        this.br(again);
      });
    });
  }

  br(label: Label): void {
    this.code.byte(OP.br);
    this.code.u32(this.#depth - label.depth);
  }

  brIf(label: Label, condition: I32, hint?: Hint): void {
    condition.emit(this.code);
    this.#hint(hint);
    this.code.byte(OP.brIf);
    this.code.u32(this.#depth - label.depth);
  }

  brTable(index: I32, labels: readonly Label[], otherwise: Label): void {
    index.emit(this.code);
    this.code.byte(OP.brTable);
    this.code.u32(labels.length);
    for (const label of labels) this.code.u32(this.#depth - label.depth);
    this.code.u32(this.#depth - otherwise.depth);
  }

  return(value?: Expr): void {
    value?.emit(this.code);
    this.code.byte(OP.return);
  }

  /** Calls a function and drops its result, if it has one. */
  call(func: FuncRef, ...args: readonly Expr[]): void {
    emitCall(this.code, func, args);
    if (func.signature.result !== undefined) this.code.byte(OP.drop);
  }

  /** Leaves the function by calling another in its place. */
  returnCall(func: FuncRef, ...args: readonly Expr[]): void {
    for (const arg of args) arg.emit(this.code);
    this.code.byte(OP.returnCall);
    this.code.u32(func.index);
  }

  /** The same through the imported table. */
  returnCallIndirect(type: TypeRef, slot: I32, ...args: readonly Expr[]): void {
    for (const arg of args) arg.emit(this.code);
    slot.emit(this.code);
    this.code.byte(OP.returnCallIndirect);
    this.code.u32(type.index);
    this.code.u32(0);
  }

  unreachable(): void {
    this.code.byte(OP.unreachable);
  }

  #store(opcode: number, align: number, address: I32, value: Expr, offset: number): void {
    address.emit(this.code);
    value.emit(this.code);
    this.code.byte(opcode);
    this.code.u32(align);
    this.code.u32(offset);
  }

  #open(opcode: number): void {
    this.#depth++;
    this.code.byte(opcode);
    this.code.byte(EMPTY_BLOCK);
  }

  #close(): void {
    this.code.byte(OP.end);
    this.#depth--;
  }

  #hint(hint: Hint | undefined): void {
    if (hint !== undefined) {
      this.hints.push({ offset: this.code.length, likely: hint === "likely" });
    }
  }
}

/** Logical not of an i32 condition. */
export function not(condition: I32): I32 {
  return {
    type: "i32",
    emit: (out) => {
      condition.emit(out);
      out.byte(0x45);
    },
  };
}

interface ImportedFunction extends FuncRef {
  readonly module: string;
}

interface DeclaredFunction extends FuncRef {
  body: Fn | undefined;
  exported: boolean;
}

/** One module: one imported memory, imported functions, own functions. */
export class ModuleBuilder {
  readonly #types: string[] = [];
  readonly #signatures: Signature[] = [];
  readonly #imports: ImportedFunction[] = [];
  readonly #functions: DeclaredFunction[] = [];
  readonly #memory: { readonly initialPages: number; readonly maximumPages: number };
  #tableSize: number | undefined;
  readonly #elements: { readonly place: number; readonly func: FuncRef }[] = [];

  /** The module imports `env.memory` with these limits, in 64 KiB pages. */
  constructor(memory: { readonly initialPages: number; readonly maximumPages: number }) {
    this.#memory = memory;
  }

  /** Imports `env.table`, a table of at least `size` functions. */
  importTable(size: number): void {
    this.#tableSize = size;
  }

  /** Puts a function into the imported table when the module is instantiated. */
  putInTable(place: number, func: FuncRef): void {
    assert(this.#tableSize !== undefined, "a table is imported before it is filled");
    this.#elements.push({ place, func });
  }

  /** A function type for calls through the table. */
  type<const P extends readonly ValType[], R extends ValType | undefined = undefined>(
    params: P,
    result?: R,
  ): TypeRef<P, R> {
    const signature = { params, result: result as R };
    return { index: this.#typeIndex(signature), signature };
  }

  /** Imports a host function from `env`; all imports come before the first function. */
  import<const P extends readonly ValType[], R extends ValType | undefined = undefined>(
    name: string,
    params: P,
    result?: R,
  ): FuncRef<P, R> {
    assert(this.#functions.length === 0, "imports must precede functions");
    const signature = { params, result: result as R };
    const ref = { name, module: "env", signature, index: this.#imports.length };
    this.#typeIndex(signature);
    this.#imports.push(ref);
    return ref;
  }

  /** Names a function that `define` gives a body later. */
  declare<const P extends readonly ValType[], R extends ValType | undefined = undefined>(
    name: string,
    params: P,
    result?: R,
  ): FuncRef<P, R> {
    const index = this.#imports.length + this.#functions.length;
    const signature = { params, result: result as R };
    const ref = { name, signature, index, body: undefined, exported: false };
    this.#typeIndex(ref.signature);
    this.#functions.push(ref);
    return ref;
  }

  /** Gives a declared function its body; `build` gets the parameters as variables. */
  define<P extends readonly ValType[], R extends ValType | undefined>(
    ref: FuncRef<P, R>,
    build: (f: Fn, ...params: Params<P>) => void,
  ): FuncRef<P, R> {
    const target = this.#functions[ref.index - this.#imports.length];
    assert(target !== undefined && target.body === undefined, `cannot define ${ref.name}`);
    const { params } = ref.signature;
    const fn = new Fn(params.length);
    build(fn, ...(params.map((type, i) => new Local(type, i)) as Params<P>));
    target.body = fn;
    return ref;
  }

  export(ref: FuncRef): void {
    const target = this.#functions[ref.index - this.#imports.length];
    assert(target !== undefined, `cannot export ${ref.name}`);
    target.exported = true;
  }

  /** The binary module (Core Specification, section 5.5). */
  finish(): Uint8Array<ArrayBuffer> {
    const out = new CodeBuffer();
    out.append(new Uint8Array([0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00]));
    this.#section(out, 1, (s) => this.#typeSection(s));
    this.#section(out, 2, (s) => this.#importSection(s));
    this.#section(out, 3, (s) => {
      s.u32(this.#functions.length);
      for (const { signature } of this.#functions) s.u32(this.#typeIndex(signature));
    });
    this.#section(out, 7, (s) => {
      const exported = this.#functions.filter((f) => f.exported);
      s.u32(exported.length);
      for (const f of exported) {
        s.name(f.name);
        s.byte(0);
        s.u32(f.index);
      }
    });
    if (this.#elements.length > 0) {
      this.#section(out, 9, (s) => {
        s.u32(this.#elements.length);
        for (const { place, func } of this.#elements) {
          s.u32(0);
          i32(place).emit(s);
          s.byte(OP.end);
          s.u32(1);
          s.u32(func.index);
        }
      });
    }
    const bodies = this.#functions.map((f) => {
      assert(f.body !== undefined, `${f.name} was declared but never defined`);
      return encodeBody(f.body, f.signature);
    });
    this.#section(out, 0, (s) => this.#hintSection(s, bodies));
    this.#section(out, 10, (s) => {
      s.u32(bodies.length);
      for (const { bytes } of bodies) {
        s.u32(bytes.length);
        s.append(bytes);
      }
    });
    this.#section(out, 0, (s) => this.#nameSection(s));
    return out.view().slice();
  }

  #typeIndex(signature: Signature): number {
    const key = `${signature.params.join()}:${signature.result ?? ""}`;
    const found = this.#types.indexOf(key);
    if (found >= 0) return found;
    this.#signatures.push(signature);
    return this.#types.push(key) - 1;
  }

  #section(out: CodeBuffer, id: number, build: (section: CodeBuffer) => void): void {
    const section = new CodeBuffer();
    build(section);
    out.byte(id);
    out.u32(section.length);
    out.append(section.view());
  }

  #typeSection(s: CodeBuffer): void {
    s.u32(this.#signatures.length);
    for (const { params, result } of this.#signatures) {
      s.byte(0x60);
      s.u32(params.length);
      for (const type of params) s.byte(VAL_TYPE_CODE[type]);
      s.u32(result === undefined ? 0 : 1);
      if (result !== undefined) s.byte(VAL_TYPE_CODE[result]);
    }
  }

  #importSection(s: CodeBuffer): void {
    s.u32(this.#imports.length + (this.#tableSize === undefined ? 1 : 2));
    s.name("env");
    s.name("memory");
    s.byte(2);
    s.byte(1);
    s.u32(this.#memory.initialPages);
    s.u32(this.#memory.maximumPages);
    if (this.#tableSize !== undefined) {
      s.name("env");
      s.name("table");
      s.byte(1);
      s.byte(FUNCREF);
      s.byte(0);
      s.u32(this.#tableSize);
    }
    for (const { module, name, signature } of this.#imports) {
      s.name(module);
      s.name(name);
      s.byte(0);
      s.u32(this.#typeIndex(signature));
    }
  }

  #hintSection(s: CodeBuffer, bodies: readonly EncodedBody[]): void {
    s.name("metadata.code.branch_hint");
    const hinted = this.#functions
      .map((f, i) => ({ index: f.index, encoded: bodies[i], hints: f.body?.hints }))
      .filter(({ hints }) => hints !== undefined && hints.length > 0);
    s.u32(hinted.length);
    for (const { index, encoded, hints = [] } of hinted) {
      s.u32(index);
      s.u32(hints.length);
      for (const { offset, likely } of hints) {
        s.u32(encoded.codeOffset + offset);
        s.u32(1);
        s.byte(likely ? 1 : 0);
      }
    }
  }

  /** Names of own functions, for profilers and stack traces. */
  #nameSection(s: CodeBuffer): void {
    s.name("name");
    const names = new CodeBuffer();
    names.u32(this.#functions.length);
    for (const { index, name } of this.#functions) {
      names.u32(index);
      names.name(name);
    }
    s.byte(1);
    s.u32(names.length);
    s.append(names.view());
  }
}

interface EncodedBody {
  readonly bytes: Uint8Array;
  /** Where the instructions begin, counted from the locals declaration (for branch hints). */
  readonly codeOffset: number;
}

function encodeBody(fn: Fn, signature: Signature): EncodedBody {
  const out = new CodeBuffer();
  const runs: { type: ValType; count: number }[] = [];
  for (const type of fn.localTypes) {
    const last = runs.at(-1);
    if (last?.type === type) last.count++;
    else runs.push({ type, count: 1 });
  }
  out.u32(runs.length);
  for (const { type, count } of runs) {
    out.u32(count);
    out.byte(VAL_TYPE_CODE[type]);
  }
  const codeOffset = out.length;
  out.append(fn.code.view());
  // A body that ends in `return` still needs a value on the fall-through path.
  if (signature.result !== undefined) out.byte(OP.unreachable);
  out.byte(OP.end);
  return { bytes: out.view().slice(), codeOffset };
}
