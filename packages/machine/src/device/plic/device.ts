/**
 * The interrupt controller: takes the devices' level-triggered lines and tells the hart's two
 * contexts whether an interrupt waits.
 *
 * A source's gateway passes one request at a time: it sets the pending bit while the line is up
 * and no request of this source is being served; a claim clears the bit and starts serving; a
 * completion ends it, and the gateway looks at the line again. A pending bit outlives a line that
 * falls before the claim, so a short pulse is not lost.
 */
import { assert } from "@dejavm/base";
import { type FieldReader, fields } from "../../snapshot/fields.ts";
import type { Device, IrqLine, State } from "../device.ts";
import {
  CONTEXT_BASE,
  CONTEXT_CLAIM,
  CONTEXT_STRIDE,
  CONTEXT_THRESHOLD,
  ENABLE_BASE,
  ENABLE_STRIDE,
  LAST_SOURCE,
  PENDING_BASE,
  PRIORITY_BASE,
  PRIORITY_MASK,
  SOURCE_WORDS,
  SOURCES,
} from "./wire.ts";

/** Privilege context of hart 0 that an interrupt goes to. */
export type PlicContext = "m" | "s";

/** Drives the external interrupt bit (MEIP or SEIP) of a context. */
export type PlicOutput = (context: PlicContext, asserted: boolean) => void;

/** In the order of their registers. */
const CONTEXTS: readonly PlicContext[] = ["m", "s"];

interface ContextState {
  readonly enable: Uint32Array;
  threshold: number;
  /** What `output` was last told. */
  asserted: boolean;
}

/** See the head of this file. Outputs are called only when they change, and after `restore`. */
export class Plic implements Device {
  readonly name = "plic";
  readonly widths = [4] as const;
  readonly #output: PlicOutput;
  readonly #priority = new Uint8Array(SOURCES);
  readonly #level = new Uint32Array(SOURCE_WORDS);
  readonly #pending = new Uint32Array(SOURCE_WORDS);
  readonly #serving = new Uint32Array(SOURCE_WORDS);
  readonly #contexts: readonly ContextState[] = CONTEXTS.map(() => ({
    enable: new Uint32Array(SOURCE_WORDS),
    threshold: 0,
    asserted: false,
  }));

  constructor(options: { readonly output: PlicOutput }) {
    this.#output = options.output;
  }

  /** The input of source 1 .. 95. */
  line(source: number): IrqLine {
    assert(source >= 1 && source <= LAST_SOURCE, `no interrupt source ${source}`);
    return { set: (asserted) => this.#setLevel(source, asserted) };
  }

  read(offset: number): number {
    if (offset < PENDING_BASE) {
      return this.#priority[(offset - PRIORITY_BASE) >> 2] ?? 0;
    }
    if (offset < ENABLE_BASE) return this.#pending[(offset - PENDING_BASE) >> 2] ?? 0;
    if (offset < CONTEXT_BASE) {
      const [context, rest] = this.#select(offset - ENABLE_BASE, ENABLE_STRIDE);
      return context?.enable[rest >> 2] ?? 0;
    }
    const [context, rest] = this.#select(offset - CONTEXT_BASE, CONTEXT_STRIDE);
    if (context === undefined) return 0;
    if (rest === CONTEXT_THRESHOLD) return context.threshold;
    return rest === CONTEXT_CLAIM ? this.#claim(context) : 0;
  }

  write(offset: number, _width: number, value: number): undefined {
    if (offset < PENDING_BASE) {
      const source = (offset - PRIORITY_BASE) >> 2;
      if (source >= 1 && source < SOURCES) this.#priority[source] = value & PRIORITY_MASK;
    } else if (offset >= CONTEXT_BASE) {
      const [context, rest] = this.#select(offset - CONTEXT_BASE, CONTEXT_STRIDE);
      if (context === undefined) return;
      if (rest === CONTEXT_THRESHOLD) context.threshold = value & PRIORITY_MASK;
      else if (rest === CONTEXT_CLAIM) this.#complete(context, value);
    } else if (offset >= ENABLE_BASE) {
      const [context, rest] = this.#select(offset - ENABLE_BASE, ENABLE_STRIDE);
      const word = rest >> 2;
      if (context === undefined || word >= SOURCE_WORDS) return;
      context.enable[word] = word === 0 ? value & ~1 : value;
    }
    this.#update();
  }

  save(): State {
    return {
      priority: this.#priority.slice(),
      level: words(this.#level),
      pending: words(this.#pending),
      serving: words(this.#serving),
      contexts: this.#contexts.map(({ enable, threshold }) => ({
        enable: words(enable),
        threshold,
      })),
    };
  }

  restore(state: State): void {
    const f = fields(state, this.name);
    const priority = f.bytes("priority", { length: SOURCES });
    for (let source = 1; source < SOURCES; source++) {
      this.#priority[source] = priority[source] & PRIORITY_MASK;
    }
    readWords(f, "level", this.#level);
    readWords(f, "pending", this.#pending);
    readWords(f, "serving", this.#serving);
    const contexts = f.records("contexts", CONTEXTS.length);
    for (const [i, context] of this.#contexts.entries()) {
      const c = contexts[i];
      if (c === undefined) throw f.invalid("contexts", `${CONTEXTS.length} items`);
      readWords(c, "enable", context.enable);
      context.threshold = c.integer("threshold", {
        min: 0,
        max: PRIORITY_MASK,
      });
      c.end();
    }
    f.end();
    this.#update(true);
  }

  /** The context whose register block `offset` falls in, and the offset within that block. */
  #select(offset: number, stride: number): [ContextState | undefined, number] {
    return [this.#contexts[Math.floor(offset / stride)], offset % stride];
  }

  #setLevel(source: number, asserted: boolean): void {
    if (hasBit(this.#level, source) === asserted) return;
    putBit(this.#level, source, asserted);
    if (asserted) this.#gateway(source);
  }

  #gateway(source: number): void {
    if (!hasBit(this.#level, source) || hasBit(this.#serving, source)) return;
    putBit(this.#pending, source, true);
    this.#update();
  }

  /** A claim is not held back by the threshold (section 9). */
  #claim(context: ContextState): number {
    const source = this.#best(context, 0);
    if (source === 0) return 0;
    putBit(this.#pending, source, false);
    putBit(this.#serving, source, true);
    this.#update();
    return source;
  }

  /** Completions of sources that the context has not enabled are ignored (section 10). */
  #complete(context: ContextState, source: number): void {
    if (source < 1 || source > LAST_SOURCE || !hasBit(context.enable, source)) return;
    if (!hasBit(this.#serving, source)) return;
    putBit(this.#serving, source, false);
    this.#gateway(source);
  }

  /** The source with the highest priority above `threshold`, the lowest number among equals. */
  #best(context: ContextState, threshold: number): number {
    let best = 0;
    let bestPriority = threshold;
    for (let word = 0; word < SOURCE_WORDS; word++) {
      let ready = this.#pending[word] & context.enable[word];
      while (ready !== 0) {
        const bit = 31 - Math.clz32(ready & -ready);
        ready &= ready - 1;
        const source = word * 32 + bit;
        if (this.#priority[source] > bestPriority) {
          best = source;
          bestPriority = this.#priority[source];
        }
      }
    }
    return best;
  }

  #update(always = false): void {
    for (const [i, name] of CONTEXTS.entries()) {
      const context = this.#contexts[i];
      const asserted = this.#best(context, context.threshold) !== 0;
      if (asserted === context.asserted && !always) continue;
      context.asserted = asserted;
      this.#output(name, asserted);
    }
  }
}

function hasBit(bits: Uint32Array, index: number): boolean {
  return ((bits[index >> 5] >>> (index & 31)) & 1) === 1;
}

function putBit(bits: Uint32Array, index: number, value: boolean): void {
  const mask = 1 << (index & 31);
  if (value) bits[index >> 5] |= mask;
  else bits[index >> 5] &= ~mask;
}

function words(source: Uint32Array): number[] {
  return Array.from(source);
}

/** One bit per source; source 0 does not exist. */
function readWords(f: FieldReader, name: string, target: Uint32Array): void {
  const items = f.list(name, SOURCE_WORDS);
  for (let i = 0; i < SOURCE_WORDS; i++) {
    const item = items[i];
    const valid = typeof item === "number" && Number.isInteger(item) && item === item >>> 0;
    if (!valid || (i === 0 && (item & 1) === 1)) {
      throw f.invalid(name, `${SOURCE_WORDS} words without bit 0`);
    }
    target[i] = item;
  }
}
