/**
 * Structured control flow for a region: reverse postorder, dominators, loop headers and merge
 * points (Cooper, Harvey, Kennedy, "A Simple, Fast Dominance Algorithm"; Ramsey, "Beyond
 * Relooper"). Edges into the middle of a loop make a graph irreducible; they are reported, and
 * leave the region.
 */
import { assert } from "@dejavm/base";
import { type Block, successors } from "./shape.ts";

/** One block with its place in the graph. */
export interface GraphNode {
  readonly block: Block;
  /** Place in reverse postorder: smaller comes first. */
  readonly order: number;
  /** Children in the dominator tree, ascending. */
  readonly children: GraphNode[];
  /** Some later block jumps back here. */
  isLoop: boolean;
  /** More than one edge from earlier blocks leads here. */
  isMerge: boolean;
}

/** A region's blocks as a reducible graph. */
export interface Graph {
  readonly entry: GraphNode;
  /** In reverse postorder. */
  readonly nodes: readonly GraphNode[];
  /** The node that an edge leads to; undefined: the edge leaves the region. */
  target(from: GraphNode, offset: number): GraphNode | undefined;
}

/** Arranges blocks for structured emission; only those reachable from `entry` are kept. */
export function buildGraph(blocks: ReadonlyMap<number, Block>, entry: number): Graph {
  const order = reversePostorder(blocks, entry);
  const nodes = order.map(
    (block, index): GraphNode => ({
      block,
      order: index,
      children: [],
      isLoop: false,
      isMerge: false,
    }),
  );
  const byOffset = new Map(nodes.map((node) => [node.block.offset, node]));
  const predecessors = nodes.map((): number[] => []);
  for (const node of nodes) {
    for (const offset of successors(node.block.end)) {
      const next = byOffset.get(offset);
      if (next !== undefined) predecessors[next.order].push(node.order);
    }
  }
  const dominators = immediateDominators(predecessors);
  const dominates = (a: number, b: number): boolean => {
    let x = b;
    while (x > a) x = dominators[x];
    return x === a;
  };
  const target = (from: GraphNode, offset: number): GraphNode | undefined => {
    const to = byOffset.get(offset);
    if (to === undefined) return undefined;
    const isBack = to.order <= from.order;
    return isBack && !dominates(to.order, from.order) ? undefined : to;
  };
  const forwardEdges = nodes.map(() => 0);
  for (const node of nodes) {
    if (node.order > 0) nodes[dominators[node.order]].children.push(node);
    for (const offset of successors(node.block.end)) {
      const next = target(node, offset);
      if (next === undefined) continue;
      if (next.order <= node.order) next.isLoop = true;
      else next.isMerge = ++forwardEdges[next.order] > 1;
    }
  }
  const [first] = nodes;
  assert(first !== undefined, "a region has an entry");
  return { entry: first, nodes, target };
}

function reversePostorder(blocks: ReadonlyMap<number, Block>, entry: number): Block[] {
  const postorder: Block[] = [];
  const seen = new Set<number>([entry]);
  const stack: { readonly block: Block; readonly next: number[] }[] = [];
  const push = (offset: number): void => {
    const block = blocks.get(offset);
    if (block !== undefined) stack.push({ block, next: [...successors(block.end)] });
  };
  push(entry);
  for (let top = stack.at(-1); top !== undefined; top = stack.at(-1)) {
    const offset = top.next.pop();
    if (offset === undefined) {
      postorder.push(top.block);
      stack.pop();
    } else if (!seen.has(offset)) {
      seen.add(offset);
      push(offset);
    }
  }
  return postorder.reverse();
}

/** For each node in reverse postorder the number of its immediate dominator; 0 for the entry. */
function immediateDominators(predecessors: readonly (readonly number[])[]): number[] {
  const dominators: number[] = predecessors.map((_, index) => (index === 0 ? 0 : -1));
  const intersect = (a: number, b: number): number => {
    let x = a;
    let y = b;
    while (x !== y) {
      while (x > y) x = dominators[x];
      while (y > x) y = dominators[y];
    }
    return x;
  };
  for (let changed = true; changed; ) {
    changed = false;
    for (let node = 1; node < predecessors.length; node++) {
      let found = -1;
      for (const before of predecessors[node]) {
        if (dominators[before] === -1) continue;
        found = found === -1 ? before : intersect(before, found);
      }
      if (dominators[node] !== found) {
        dominators[node] = found;
        changed = true;
      }
    }
  }
  return dominators;
}
