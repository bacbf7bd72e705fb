/**
 * Which registers a block needs from before: what must be in variables when it is entered from
 * memory, at the region's entry and after calls. Sets are bit masks over the 32 registers.
 */
import { fieldRd, fieldRs1, fieldRs2, fieldRs3 } from "../../isa/decode.ts";
import type { RegionInstruction } from "./shape.ts";
import { successors } from "./shape.ts";
import type { Graph, GraphNode } from "./structure.ts";

/** Sets of integer and floating-point registers. */
export interface RegisterSets {
  readonly x: number;
  readonly f: number;
}

/** Registers that an instruction reads and writes; x0 is in neither set. */
export function registersOf({ instruction, word }: RegionInstruction): {
  readonly reads: RegisterSets;
  readonly writes: RegisterSets;
} {
  const reads = { x: 0, f: 0 };
  const writes = { x: 0, f: 0 };
  const { rd, rs1, rs2, rs3 } = instruction.operands;
  if (rs1 !== undefined) reads[rs1] |= 1 << fieldRs1(word);
  if (rs2 !== undefined) reads[rs2] |= 1 << fieldRs2(word);
  if (rs3 !== undefined) reads[rs3] |= 1 << fieldRs3(word);
  if (rd !== undefined) writes[rd] |= 1 << fieldRd(word);
  reads.x &= ~1;
  writes.x &= ~1;
  return { reads, writes };
}

/** For each node of a graph, by its order, the registers live at its top. */
export function liveAtEntry(graph: Graph): readonly RegisterSets[] {
  const local = graph.nodes.map(localSets);
  const live = graph.nodes.map(({ order }) => ({ ...local[order].needs }));
  for (let changed = true; changed; ) {
    changed = false;
    for (const node of graph.nodes.toReversed()) {
      const after = liveAfter(graph, node, live);
      const { needs, kills } = local[node.order];
      const x = needs.x | (after.x & ~kills.x);
      const f = needs.f | (after.f & ~kills.f);
      const now = live[node.order];
      if (x !== now.x || f !== now.f) {
        live[node.order] = { x, f };
        changed = true;
      }
    }
  }
  return live;
}

/** After a call everything comes from memory, so nothing is live across it. */
function liveAfter(graph: Graph, node: GraphNode, live: readonly RegisterSets[]): RegisterSets {
  const { end } = node.block;
  if (end.kind === "call") return { x: 0, f: 0 };
  const sets = { x: 0, f: 0 };
  for (const offset of successors(end)) {
    const next = graph.target(node, offset);
    if (next === undefined) continue;
    sets.x |= live[next.order].x;
    sets.f |= live[next.order].f;
  }
  return sets;
}

function localSets({ block }: GraphNode): { needs: RegisterSets; kills: RegisterSets } {
  const needs = { x: 0, f: 0 };
  const kills = { x: 0, f: 0 };
  for (const instruction of block.instructions) {
    const { reads, writes } = registersOf(instruction);
    needs.x |= reads.x & ~kills.x;
    needs.f |= reads.f & ~kills.f;
    kills.x |= writes.x;
    kills.f |= writes.f;
  }
  return { needs, kills };
}
