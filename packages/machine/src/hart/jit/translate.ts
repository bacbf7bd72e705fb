/**
 * Emits one region as one Wasm function with structured control flow. Every block pays for its
 * instructions at its top; a fault gives back what did not happen. Whether the budget suffices is
 * looked at where a path may grow: at the entry, at loop headers and after calls, for the longest
 * way to the next such place. Registers are in the state block whenever control can leave.
 */
import {
  add,
  both,
  eq,
  gtS,
  type I32,
  type I64,
  i32,
  i64,
  load32,
  load64,
  ltS,
  ne,
  sub,
} from "../../wasm/expr.ts";
import { call, callIndirect, type Fn, type Label, type Local } from "../../wasm/module.ts";
import type { BodyFunctions } from "../body-sem.ts";
import { emitBranchTree } from "../branch-tree.ts";
import { get32, get64, set64 } from "../builder.ts";
import { JUMP_CACHE_ENTRY } from "../layout.ts";
import { jumpCacheEntry, LEAVE_AT, type RegionFunctions, type RegionType } from "../region.ts";
import { liveAtEntry, type RegisterSets, registersOf } from "./liveness.ts";
import { FloatKnowledge, type RegionControl, type RegionFrame, RegionSem } from "./region-sem.ts";
import { Registers } from "./registers.ts";
import type { Block, JumpTarget, RegionInstruction } from "./shape.ts";
import { isInPage, successors } from "./shape.ts";
import { buildGraph, type Graph, type GraphNode } from "./structure.ts";

/** Functions of the hart's module that regions call. */
export interface TranslationFunctions extends BodyFunctions {
  readonly regions: RegionFunctions;
  readonly region: RegionType;
}

/** Fills a region's function; gives the budget that it wants at its entry. */
export function translateRegion(
  f: Fn,
  params: readonly [Local<"i64">, Local<"i32">, Local<"i32">],
  region: {
    readonly blocks: ReadonlyMap<number, Block>;
    readonly entry: number;
    readonly functions: TranslationFunctions;
  },
): number {
  return new Translator(f, params, region).emit();
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
  /** For each node, instructions to the next look at the budget at most. */
  readonly #need: readonly number[];
  readonly #frame: RegionFrame;
  readonly #budget: Local<"i32">;
  readonly #depth: Local<"i32">;
  readonly #jumpCache: Local<"i32">;
  readonly #labels = new Map<GraphNode, Labels>();

  constructor(
    f: Fn,
    [pc, budget, depth]: readonly [Local<"i64">, Local<"i32">, Local<"i32">],
    { blocks, entry, functions }: Parameters<typeof translateRegion>[2],
  ) {
    this.#f = f;
    this.#functions = functions;
    this.#graph = buildGraph(blocks, entry);
    this.#live = liveAtEntry(this.#graph);
    this.#need = budgetNeeds(this.#graph);
    this.#jumpCache = f.let(get32("jumpCache"));
    this.#budget = budget;
    this.#depth = depth;
    this.#frame = {
      f,
      registers: new Registers(f, usedRegisters(this.#graph)),
      base: f.let(sub(pc, i64(entry))),
      dataTlb: f.let(get32("dataTlb")),
      functions,
    };
  }

  emit(): number {
    if (!this.#graph.entry.isLoop) this.#checkBudget(this.#graph.entry);
    this.#frame.registers.load(this.#live[0]);
    this.#tree(this.#graph.entry);
    this.#f.unreachable();
    return this.#need[0];
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
      this.#checkBudget(node);
      this.#within(node, merges);
    });
  }

  /** The node's own code inside a block for each merge point that it dominates, last outermost. */
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
      const target = add(this.#frame.base, i64(offset));
      // What lies in the page and is not part of the region has hardly been run.
      if (isInPage(offset)) this.#chainSeldom(target);
      else this.#chain(target);
      return;
    }
    const labels = this.#labels.get(to);
    const label = to.order <= node.order ? labels?.loop : labels?.merge;
    if (label !== undefined) f.br(label);
    else this.#tree(to);
  }

  // ---- blocks

  #block(node: GraphNode): void {
    const f = this.#f;
    const { instructions, end } = node.block;
    const cost = instructions.length;
    if (cost > 0) f.set(this.#budget, sub(this.#budget, i32(cost)));
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

  /** Leaves at the top of a node unless the budget reaches to the next such look. */
  #checkBudget(node: GraphNode): void {
    this.#f.if(
      ltS(this.#budget, i32(this.#need[node.order])),
      () => this.#leave(this.#functions.regions.leaveShort, node.block.offset),
      undefined,
      "unlikely",
    );
  }

  #control(node: GraphNode, at: RegionInstruction, unpaid: number): RegionControl {
    const f = this.#f;
    const { end } = node.block;
    const { registers } = this.#frame;
    return {
      fault: () => this.#leave(this.#functions.regions.leave, at.offset, unpaid),
      missed: () => this.#miss(at.offset, unpaid),
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
        else if (end.kind === "indirect") this.#jumpTable(node, target, end.targets);
      },
    };
  }

  /** To where a computed jump was seen to go, inside the region; to anywhere else behind that. */
  #jumpTable(node: GraphNode, target: I64, seen: readonly JumpTarget[]): void {
    const f = this.#f;
    const known = seen
      .filter(({ offset }) => this.#graph.target(node, offset) !== undefined)
      .sort((a, b) => a.offset - b.offset);
    if (known.length > 0) {
      const to = f.let(sub(target, this.#frame.base));
      const at = (index: number): I64 => i64(known[index]?.offset ?? 0);
      emitBranchTree(f, {
        weights: known.map(({ weight }) => weight),
        isBefore: (middle) => ltS(to, at(middle)),
        leaf: (from, end) => {
          if (end - from > 1) return false;
          f.if(eq(to, at(from)), () => this.#goto(node, known[from]?.offset ?? 0));
          return true;
        },
      });
    }
    this.#chain(target);
  }

  // ---- ways out

  /** Unwinds at `offset`, `unpaid` instructions of the block not executed. */
  #leave(how: RegionFunctions["leave"], offset: number, unpaid = 0): void {
    const at = i32(offset | (unpaid << LEAVE_AT.unpaidShift));
    this.#f.returnCall(how, this.#frame.base, at, this.#budget);
  }

  /** The interpreter does the instruction at `offset`; then other regions follow. */
  #miss(offset: number, unpaid: number): void {
    const at = i32(offset | (unpaid << LEAVE_AT.unpaidShift));
    const { miss } = this.#functions.regions;
    this.#f.returnCall(miss, this.#frame.base, at, this.#budget, this.#depth);
  }

  #return(target: I64): void {
    set64(this.#f, "pc", target);
    this.#f.return(this.#budget);
  }

  /** The jump cache's entry for `target`, and whether it has it. */
  #lookUp(target: I64): { entry: Local<"i32">; hits: I32 } {
    const entry = this.#f.let(jumpCacheEntry(this.#jumpCache, target));
    return { entry, hits: eq(load64(entry, JUMP_CACHE_ENTRY.tag), target) };
  }

  #chain(to: I64): void {
    const f = this.#f;
    const target = f.let(to);
    const { entry, hits } = this.#lookUp(target);
    const region = load32(entry, JUMP_CACHE_ENTRY.region);
    f.if(hits, () =>
      f.returnCallIndirect(this.#functions.region, region, target, this.#budget, this.#depth),
    );
    f.returnCall(this.#functions.regions.chain, target, this.#budget, this.#depth);
  }

  #chainSeldom(target: I64): void {
    this.#f.returnCall(this.#functions.regions.chain, target, this.#budget, this.#depth);
  }

  /** To code that is not translated, which may lie in the next page. */
  #chainOrStay(offset: number): void {
    this.#return(add(this.#frame.base, i64(offset)));
  }

  #call(node: GraphNode, to: I64, next: number): void {
    const f = this.#f;
    const { regions, region } = this.#functions;
    const budget = this.#budget;
    const depth = this.#depth;
    const unwindIfNegative = (): void =>
      f.if(ltS(budget, i32(0)), () => f.return(budget), undefined, "unlikely");
    const target = f.let(to);
    const returnPc = f.let(add(this.#frame.base, i64(next)));
    const { entry, hits } = this.#lookUp(target);
    f.if(
      both(hits, gtS(depth, i32(0))),
      () => {
        const callee = load32(entry, JUMP_CACHE_ENTRY.region);
        f.set(budget, callIndirect(region, callee, target, budget, sub(depth, i32(1))));
        unwindIfNegative();
        f.if(
          ne(get64("pc"), returnPc),
          () => {
            f.set(budget, call(regions.resume, budget, depth, returnPc));
            unwindIfNegative();
          },
          undefined,
          "unlikely",
        );
      },
      () => {
        f.set(budget, call(regions.invoke, target, budget, depth, returnPc));
        unwindIfNegative();
      },
      "likely",
    );
    const after = this.#graph.target(node, next);
    if (after !== undefined) {
      if (!after.isLoop) this.#checkBudget(after);
      this.#frame.registers.load(this.#live[after.order]);
    }
    this.#goto(node, next);
  }
}

/** The longest way, in instructions, from the top of each node to the next look at the budget. */
function budgetNeeds(graph: Graph): number[] {
  const needs = graph.nodes.map(() => 0);
  for (const node of graph.nodes.toReversed()) {
    const { instructions, end } = node.block;
    let rest = 0;
    if (end.kind !== "call") {
      for (const offset of successors(end)) {
        const next = graph.target(node, offset);
        const looks = next === undefined || next.isLoop || next.order <= node.order;
        if (!looks) rest = Math.max(rest, needs[next.order]);
      }
    }
    needs[node.order] = instructions.length + rest;
  }
  return needs;
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
