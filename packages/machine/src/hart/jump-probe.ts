/**
 * Two loops that do the same, one by direct calls and one by indirect ones: whoever has a clock can
 * tell from them whether this processor predicts indirect jumps, and choose how the interpreter
 * dispatches (dispatch.ts). V8's baseline compiler already makes real indirect calls of them.
 */
import { add, type I32, i32, nez, sub } from "../wasm/expr.ts";
import { callI32, callIndirect, ModuleBuilder } from "../wasm/module.ts";
import { createMemory, createTable, instantiate } from "../wasm/runtime.ts";

/** Each makes PROBE_CALLS calls in each round; the sum of what they gave. */
export interface JumpProbe {
  readonly direct: (rounds: number) => number;
  readonly indirect: (rounds: number) => number;
}

/** Functions that the indirect calls go to, in turn. */
const TARGETS = 4;
/** Calls in a loop's body, so that the loop itself does not count. */
export const PROBE_CALLS = 32;

/** A new pair of such loops. */
export function createJumpProbe(): JumpProbe {
  const m = new ModuleBuilder({ initialPages: 1, maximumPages: 1 });
  m.importTable(TARGETS);
  const type = m.type(["i32"], "i32");
  const targets = Array.from({ length: TARGETS }, (_, i) => {
    const target = m.declare(`target_${i}`, ["i32"], "i32");
    m.define(target, (f, value) => f.return(add(value, i32(i + 1))));
    m.putInTable(i, target);
    return target;
  });
  const loop = (name: string, step: (at: number, sum: I32) => I32): void => {
    const ref = m.declare(name, ["i32"], "i32");
    m.define(ref, (f, left) => {
      const sum = f.let(i32(0));
      f.while(nez(left), () => {
        f.set(left, sub(left, i32(1)));
        for (let at = 0; at < PROBE_CALLS; at++) f.set(sum, step(at % TARGETS, sum));
      });
      f.return(sum);
    });
    m.export(ref);
  };
  loop("direct", (at, sum) => callI32(targets[at], sum));
  loop("indirect", (at, sum) => callIndirect(type, i32(at), sum));
  const env = { memory: createMemory(1), table: createTable(TARGETS) };
  return instantiate(m.finish(), env) as unknown as JumpProbe;
}
