/**
 * The part of the WebAssembly JavaScript interface that the machine uses, typed here so that the
 * package needs neither a browser's nor Node's type library.
 */

export interface WasmMemory {
  readonly buffer: ArrayBuffer;
}

/** A table of functions. */
export interface WasmTable {
  set(index: number, value: null): void;
}

interface WasmInstance {
  readonly exports: Readonly<Record<string, unknown>>;
}

interface WasmNamespace {
  readonly Memory: new (limits: { initial: number; maximum: number }) => WasmMemory;
  readonly Table: new (shape: { element: "anyfunc"; initial: number }) => WasmTable;
  readonly Module: new (bytes: Uint8Array<ArrayBuffer>) => object;
  readonly Instance: new (
    module: object,
    imports: Readonly<Record<string, Readonly<Record<string, unknown>>>>,
  ) => WasmInstance;
}

const { WebAssembly: runtime } = globalThis as unknown as { readonly WebAssembly: WasmNamespace };

/** A linear memory of fixed size, in pages of 64 KiB. */
export function createMemory(pages: number): WasmMemory {
  return new runtime.Memory({ initial: pages, maximum: pages });
}

/** A table of `size` empty places for functions. */
export function createTable(size: number): WasmTable {
  return new runtime.Table({ element: "anyfunc", initial: size });
}

/** A compiled module, which any number of instances share. */
export type WasmModule = object;

/** Compiles a module. */
export function compile(bytes: Uint8Array<ArrayBuffer>): WasmModule {
  return new runtime.Module(bytes);
}

/** Instantiates a module, compiled or not; its exports are what the module declares. */
export function instantiate(
  module: WasmModule | Uint8Array<ArrayBuffer>,
  env: Readonly<Record<string, unknown>>,
): Readonly<Record<string, unknown>> {
  const compiled = module instanceof Uint8Array ? compile(module) : module;
  return new runtime.Instance(compiled, { env }).exports;
}
