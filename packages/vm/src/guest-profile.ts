/**
 * A profile of the guest's functions in the `.cpuprofile` format, which browsers' tools open: where
 * the hart was at the end of each slice stands for the whole slice. Slices end at exact positions,
 * so no code is more likely to be met than its share. Pure.
 */

/** Samples that are kept; later ones only count. */
const MAX_PROFILE_SAMPLES = 2_000_000;
/** Unknown code is summed up by page. */
const PAGE_MASK = ~0xfffn;
/** Addresses of Linux's kernel are in the upper half. */
const UPPER_HALF = 1n << 63n;

/** Functions of the kernel by address. */
export class SymbolTable {
  readonly #addresses: bigint[] = [];
  readonly #names: string[] = [];

  /** Reads lines `ADDRESS TYPE NAME`, as in System.map and /proc/kallsyms; others are ignored. */
  static parse(text: string): SymbolTable {
    const table = new SymbolTable();
    const found: { address: bigint; name: string }[] = [];
    for (const [, address, name] of text.matchAll(/^([0-9a-f]{16}) [tTwW] (\S+)/gm)) {
      if (address !== undefined && name !== undefined) {
        found.push({ address: BigInt(`0x${address}`), name });
      }
    }
    found.sort((a, b) => (a.address < b.address ? -1 : 1));
    for (const { address, name } of found) {
      table.#addresses.push(address);
      table.#names.push(name);
    }
    return table;
  }

  get size(): number {
    return this.#addresses.length;
  }

  /** The function that an unsigned address lies in; undefined below the first. */
  find(address: bigint): string | undefined {
    let low = 0;
    let high = this.#addresses.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#addresses[middle] ?? 0n) <= address) low = middle + 1;
      else high = middle;
    }
    return this.#names[low - 1];
  }
}

interface CallFrame {
  readonly functionName: string;
  readonly scriptId: string;
  readonly url: string;
  readonly lineNumber: number;
  readonly columnNumber: number;
}

/** What a `.cpuprofile` file holds (Chrome DevTools Protocol, Profiler.Profile). */
export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: CallFrame;
    readonly hitCount: number;
    readonly children: readonly number[];
  }[];
  /** Microseconds. */
  readonly startTime: number;
  readonly endTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

interface Node {
  readonly id: number;
  readonly callFrame: CallFrame;
  hitCount: number;
  readonly children: number[];
}

/** See the head of this file. Times are microseconds of any monotonic clock. */
export class GuestProfile {
  readonly #symbols: SymbolTable;
  readonly #nodes: Node[] = [];
  readonly #byName = new Map<string, Node>();
  readonly #samples: number[] = [];
  readonly #deltas: number[] = [];
  readonly #root: Node;
  readonly #startTime: number;
  #last: number;

  constructor(symbols: SymbolTable, startTime: number) {
    this.#symbols = symbols;
    this.#startTime = startTime;
    this.#last = startTime;
    this.#root = this.#add("(root)", "");
  }

  /** From `time` on the guest ran; at the end of that slice it was at `pc`, unsigned. */
  ran(pc: bigint, time: number): void {
    const isKernel = pc >= UPPER_HALF;
    const page = `0x${(pc & PAGE_MASK).toString(16)}`;
    const name = (isKernel ? this.#symbols.find(pc) : undefined) ?? page;
    this.#sample(this.#node(name, isKernel ? "kernel" : "user"), time);
  }

  /** From `time` on the guest waited. */
  waited(time: number): void {
    this.#sample(this.#node("(idle)", ""), time);
  }

  /** The profile up to `endTime`. */
  finish(endTime: number): CpuProfile {
    return {
      nodes: this.#nodes,
      startTime: this.#startTime,
      endTime: Math.max(endTime, this.#last),
      samples: this.#samples,
      timeDeltas: this.#deltas,
    };
  }

  #sample(node: Node, time: number): void {
    node.hitCount++;
    if (this.#samples.length >= MAX_PROFILE_SAMPLES) return;
    this.#samples.push(node.id);
    this.#deltas.push(Math.max(0, Math.round(time - this.#last)));
    this.#last = Math.max(time, this.#last);
  }

  /** The node of a function, below that of its part: kernel or user. */
  #node(name: string, part: string): Node {
    const key = `${part} ${name}`;
    const found = this.#byName.get(key);
    if (found !== undefined) return found;
    const parent = part === "" ? this.#root : this.#part(part);
    const node = this.#add(name, part);
    parent.children.push(node.id);
    this.#byName.set(key, node);
    return node;
  }

  #part(part: string): Node {
    const found = this.#byName.get(part);
    if (found !== undefined) return found;
    const node = this.#add(part, "");
    this.#root.children.push(node.id);
    this.#byName.set(part, node);
    return node;
  }

  #add(functionName: string, url: string): Node {
    const callFrame = { functionName, scriptId: "0", url, lineNumber: -1, columnNumber: -1 };
    const node: Node = { id: this.#nodes.length + 1, callFrame, hitCount: 0, children: [] };
    this.#nodes.push(node);
    return node;
  }
}
