import { describe, expect, it } from "vitest";
import { i32 } from "../wasm/expr.ts";
import { type Label, ModuleBuilder } from "../wasm/module.ts";
import { createMemory, instantiate } from "../wasm/runtime.ts";
import { emitDispatch } from "./dispatch.ts";
import { FUSED_PAIRS } from "./pairs.ts";
import { SINGLE_OPS } from "./variants.ts";

const OPCODES = SINGLE_OPS + FUSED_PAIRS.length;

/** (opcode) -> the label that it leads to, by number; -1: none. */
function dispatcher(how: "table" | "branches"): (op: number) => number {
  const m = new ModuleBuilder({ initialPages: 1, maximumPages: 1 });
  const ref = m.declare("handler_of", ["i32"], "i32");
  m.define(ref, (f, op) => {
    const labels: Label[] = [];
    const open = (at: number): void => {
      f.block((label) => {
        labels[at] = label;
        if (at > 0) return open(at - 1);
        f.block((none) => emitDispatch(f, how, { op, labels, none }));
        f.return(i32(-1));
      });
      f.return(i32(at));
    };
    open(OPCODES - 1);
  });
  m.export(ref);
  const exports = instantiate(m.finish(), { memory: createMemory(1) });
  return exports["handler_of"] as (op: number) => number;
}

describe("dispatch", () => {
  it.each(["table", "branches"] as const)("finds the handler of every opcode: %s", (how) => {
    const handlerOf = dispatcher(how);
    const opcodes = Array.from({ length: OPCODES }, (_, op) => op);
    expect(opcodes.map(handlerOf)).toEqual(opcodes);
  });
});
