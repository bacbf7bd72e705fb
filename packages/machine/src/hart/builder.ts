/**
 * What the files that emit the hart share: the module under construction, the memory map, access
 * to state fields by name, and the functions that call each other across files.
 */
import {
  add,
  and,
  extendU,
  type I32,
  type I64,
  i32,
  load32,
  load64,
  shl,
  shrU,
} from "../wasm/expr.ts";
import type { Fn, FuncRef, ModuleBuilder } from "../wasm/module.ts";
import { FIELD, type FieldName, type MemoryMap } from "./layout.ts";

const STATE = i32(0);

/** Reads a 32-bit state field. */
export function get32(name: FieldName): I32 {
  return load32(STATE, FIELD[name].offset);
}

/** Reads a 64-bit state field. */
export function get64(name: FieldName): I64 {
  return load64(STATE, FIELD[name].offset);
}

/** Stores a 32-bit state field. */
export function set32(f: Fn, name: FieldName, value: I32): void {
  f.store32(STATE, value, FIELD[name].offset);
}

/** Stores a 64-bit state field. */
export function set64(f: Fn, name: FieldName, value: I64): void {
  f.store64(STATE, value, FIELD[name].offset);
}

/** Adds 1 to a statistics counter. */
export function count(f: Fn, name: FieldName): void {
  set64(f, name, add(get64(name), extendU(i32(1))));
}

/** Linear address of RAM page `page`. */
export function ramAddress(map: MemoryMap, page: I32): I32 {
  return add(shl(page, i32(12)), i32(map.ram));
}

/** Position of a virtual page in a direct-mapped table, as a byte offset. */
export function tlbOffset(address: I32, entries: number, shift: number): I32 {
  return and(shrU(address, i32(12 - shift)), i32((entries - 1) << shift));
}

/** Functions of the host (JavaScript) that generated code may call. */
export interface HostFunctions {
  /** (record): decodes the block that begins at this record. */
  readonly predecode: FuncRef;
  /** (page) -> slot: gives a code page its record slot. */
  readonly allocateSlot: FuncRef;
  /** (slot, word): decodes a straddling instruction into the slot's last record. */
  readonly decodeCross: FuncRef;
  /** () -> 1: the hart must stop in front of pc. */
  readonly atBreakpoint: FuncRef<readonly [], "i32">;
  /** (record) -> 1: goes on behind it. Puts the instruction's own record over OP.breakpoint. */
  readonly decodeUnder: FuncRef<readonly ["i32"], "i32">;
  /** (page): first write to this page in the present epoch. */
  readonly firstWrite: FuncRef;
  /** (page): first access of any kind since first touches are recorded. */
  readonly firstTouch: FuncRef;
  /** (page): forgets the predecoded code of a page. */
  readonly dropCode: FuncRef;
  /** (address, size) -> MMIO status; the value is in field mmioValue. */
  readonly mmioRead: FuncRef;
  readonly mmioWrite: FuncRef;
  /** (address, size, write): an access to a watched page happened. */
  readonly watch: FuncRef;
  /** (): the word `tohost` may have been written. */
  readonly htif: FuncRef;
  /** (record): the block that begins here has been entered heatUnit times more. */
  readonly hot: FuncRef;
}

/** What `mmioRead` and `mmioWrite` answer. */
export const MMIO = { done: 0, accessFault: 1, missing: 2 } as const;

/** Everything an emitting file needs. */
export interface HartBuilder {
  readonly m: ModuleBuilder;
  readonly map: MemoryMap;
  readonly host: HostFunctions;
}
