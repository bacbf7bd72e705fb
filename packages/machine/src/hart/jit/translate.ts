/**
 * Emits one region as one Wasm function with structured control flow. Every block pays for its
 * instructions at its top; a fault gives back what did not happen. Registers are in the state
 * block whenever control can leave.
 */
import {
  add,
  and,
  extendU,
  type I32,
  type I64,
  i32,
  i64,
  ltS,
  shrU,
  sub,
} from "../../wasm/expr.ts";
import { call, type Fn, type FuncRef, type Label, type Local } from "../../wasm/module.ts";
import type { BodyFunctions } from "../body-sem.ts";
import { get32, set32, set64 } from "../builder.ts";
import { EXIT } from "../layout.ts";
import type { RegionFunctions } from "../region.ts";
import { liveAtEntry, type RegisterSets, registersOf } from "./liveness.ts";
import { FloatKnowledge, type RegionControl, type RegionFrame, RegionSem } from "./region-sem.ts";
import { Registers } from "./registers.ts";
import type { Block, RegionInstruction } from "./shape.ts";
import { buildGraph, type Graph, type GraphNode } from "./structure.ts";

/** Functions of the hart's module that regions call. */
export interface TranslationFunctions extends BodyFunctions {
  readonly regions: Pick<RegionFunctions, "invoke" | "chain">;
}

type RegionRef = FuncRef<readonly ["i64", "i32", "i32"], "i32">;

/** Offset within a page, and instructions of the block that have not happened, in one word. */
const PAY_SHIFT = 16;

/** Defines a region's function: `body` gets the function and its parameters. */
export function translateRegion(
  f: Fn,
  params: readonly [Local<"i64">, Local<"i32">, Local<"i32">],
  region: {
    readonly blocks: ReadonlyMap<number, Block>;
    readonly entry: number;
    readonly functions: TranslationFunctions;
  },
): void {
  new Translator(f, params, region).emit();
}

/** Where branches to a node go: the head of its loop, or the end of the block before it. */
interface Labels {
  loop?: Label;
  merge?: Label;
}

class Translator {
  readonly #f: Fn;
  readonly #functions: TranslationFunctions;
  readonly #graph: Graph;
  readonly #live: readonly RegisterSets[];
  readonly #frame: RegionFrame;
  readonly #budget: Local<"i32">;
  readonly #depth: Local<"i32">;
  /** Where and with how much to give back the region faults. */
  readonly #at: Local<"i32">;
  readonly #labels = new Map<GraphNode, Labels>();
  #fault: Label = { depth: 0 };

  constructor(
    f: Fn,
    [pc, budget, depth]: readonly [Local<"i64">, Local<"i32">, Local<"i32">],
    {
      blocks,
      entry,
      functions,
    }: { blocks: ReadonlyMap<number, Block>; entry: number; functions: TranslationFunctions },
  ) {
    this.#f = f;
    this.#functions = functions;
    this.#graph = buildGraph(blocks, entry);
    this.#live = liveAtEntry(this.#graph);
    this.#budget = budget;
    this.#depth = depth;
    this.#at = f.local("i32");
    this.#frame = {
      f,
      registers: new Registers(f, usedRegisters(this.#graph)),
      base: f.let(sub(pc, i64(entry))),
      dataTlb: f.let(get32("dataTlb")),
      functions,
    };
  }

  emit(): void {
    const f = this.#f;
    f.block((fault) => {
      this.#fault = fault;
      this.#frame.registers.load(this.#live[0]);
      this.#tree(this.#graph.entry);
      f.unreachable();
    });
    set64(f, "pc", add(this.#frame.base, extendU(and(this.#at, i32((1 << PAY_SHIFT) - 1)))));
    set32(f, "budgetLeft", add(this.#budget, shrU(this.#at, i32(PAY_SHIFT))));
    f.return(i32(-1));
  }

  // ---- control structure

  #tree(node: GraphNode): void {
    const merges = node.children.filter(({ isMerge }) => isMerge).toReversed();
    if (!node.isLoop) {
      this.#within(node, merges);
      return;
    }
    this.#f.loop((loop) => {
      this.#labelsOf(node).loop = loop;
      this.#within(node, merges);
    });
  }

  /** The node's own code inside one block for each merge point that it dominates, last outermost. */
  #within(node: GraphNode, merges: readonly GraphNode[]): void {
    const [outermost, ...rest] = merges;
    if (outermost === undefined) {
      this.#block(node);
      return;
    }
    this.#f.block((label) => {
      this.#labelsOf(outermost).merge = label;
      this.#within(node, rest);
    });
    this.#tree(outermost);
  }

  #labelsOf(node: GraphNode): Labels {
    const labels = this.#labels.get(node) ?? {};
    this.#labels.set(node, labels);
    return labels;
  }

  /** Control goes from `node` to a page offset. */
  #goto(node: GraphNode, offset: number): void {
    const f = this.#f;
    const to = this.#graph.target(node, offset);
    if (to === undefined) {
      this.#chain(add(this.#frame.base, i64(offset)));
      return;
    }
    const labels = this.#labels.get(to);
    if (to.order <= node.order) f.br(labels?.loop ?? this.#fault);
    else if (to.isMerge) f.br(labels?.merge ?? this.#fault);
    else this.#tree(to);
  }

  // ---- blocks

  #block(node: GraphNode): void {
    const f = this.#f;
    const { instructions, offset, end } = node.block;
    const cost = instructions.length;
    if (cost > 0) {
      f.set(this.#budget, sub(this.#budget, i32(cost)));
      f.if(
        ltS(this.#budget, i32(0)),
        () => {
          set32(f, "exit", i32(EXIT.short));
          this.#leaveAt(offset, cost);
        },
        undefined,
        "unlikely",
      );
    }
    const float = new FloatKnowledge();
    for (const [index, instruction] of instructions.entries()) {
      const control = this.#control(node, instruction, cost - index);
      if (instruction.instruction.ends) {
        new RegionSem(this.#frame, instruction, control).emit(float);
      } else {
        f.scope(() => new RegionSem(this.#frame, instruction, control).emit(float));
      }
    }
    if (end.kind === "fall") {
      this.#frame.registers.flush();
      this.#goto(node, end.next);
    } else if (end.kind === "leave") {
      this.#frame.registers.flush();
      this.#chainOrStay(end.at);
    }
  }

  #control(node: GraphNode, at: RegionInstruction, unpaid: number): RegionControl {
    const f = this.#f;
    const { end } = node.block;
    const { registers } = this.#frame;
    return {
      fault: () => this.#leaveAt(at.offset, unpaid),
      branch: (condition) => {
        if (end.kind !== "branch") return;
        registers.flush();
        f.if(condition, () => this.#goto(node, end.taken));
        this.#goto(node, end.next);
      },
      jumpRelative: () => {
        registers.flush();
        if (end.kind === "jump") this.#goto(node, end.target);
        if (end.kind === "call" && end.target !== undefined) {
          this.#call(node, add(this.#frame.base, i64(end.target)), end.next);
        }
      },
      jump: (target) => {
        registers.flush();
        if (end.kind === "call") this.#call(node, target, end.next);
        else if (end.kind === "indirect" && end.isReturn) this.#return(target);
        else this.#chain(target);
      },
    };
  }

  // ---- ways out

  /** Unwinds with `exit` set, at `offset`, `unpaid` instructions of the block not executed. */
  #leaveAt(offset: number, unpaid: number): void {
    this.#f.set(this.#at, i32(offset | (unpaid << PAY_SHIFT)));
    this.#f.br(this.#fault);
  }

  #return(target: I64): void {
    set64(this.#f, "pc", target);
    this.#f.return(this.#budget);
  }

  #chain(target: I64): void {
    this.#f.returnCall(this.#functions.regions.chain, target, this.#budget, this.#depth);
  }

  /** To code that is not translated, which may lie in the next page. */
  #chainOrStay(offset: number): void {
    this.#return(add(this.#frame.base, i64(offset)));
  }

  #call(node: GraphNode, target: I64, next: number): void {
    const f = this.#f;
    const returnPc = add(this.#frame.base, i64(next));
    const left: I32 = call(
      this.#functions.regions.invoke,
      target,
      this.#budget,
      this.#depth,
      returnPc,
    );
    f.set(this.#budget, left);
    f.if(ltS(this.#budget, i32(0)), () => f.return(this.#budget), undefined, "unlikely");
    const to = this.#graph.target(node, next);
    if (to !== undefined) this.#frame.registers.load(this.#live[to.order]);
    this.#goto(node, next);
  }
}

function usedRegisters({ nodes }: Graph): RegisterSets {
  const used = { x: 0, f: 0 };
  for (const { block } of nodes) {
    for (const instruction of block.instructions) {
      const { reads, writes } = registersOf(instruction);
      used.x |= reads.x | writes.x;
      used.f |= reads.f | writes.f;
    }
  }
  return used;
}

/** The type of the functions that `translateRegion` fills. */
export type { RegionRef };
