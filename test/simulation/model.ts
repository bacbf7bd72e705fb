/**
 * A tiny deterministic computer for simulations: a few pages of one number each, changed at every
 * position as the position says, and by inputs. Each input is echoed, so that the outside can tell
 * which of them the machine has taken.
 */
import { CodedError } from "@dejavm/base";

/** Pages of the model: enough for increments, few enough to be quick. */
export const MODEL_PAGES = 48;
/** Positions between two periodic outputs. */
const OUTPUT_EVERY = 512;

/** Everything about a model machine. */
export interface ModelState {
  position: number;
  pages: number[];
  /** Inputs taken, in order. */
  inputs: number[];
  outputHash: number;
}

/** Something the model said: the echo of an input, or a sign of life. */
export interface ModelOutput {
  readonly position: number;
  /** Undefined: a sign of life. */
  readonly echo: number | undefined;
  readonly value: number;
}

/** A fresh machine. */
export function newModel(): ModelState {
  return {
    position: 0,
    pages: Array.from({ length: MODEL_PAGES }, (_, page) => (page < 30 ? page + 1 : 0)),
    inputs: [],
    outputHash: 7,
  };
}

/** A copy that shares nothing. */
export function copyModel(state: ModelState): ModelState {
  return { ...state, pages: [...state.pages], inputs: [...state.inputs] };
}

/** Everything but the pages, as a checkpoint's state carries it. */
export function stateBytes({ pages: _, ...rest }: ModelState): Uint8Array {
  return new TextEncoder().encode(JSON.stringify(rest));
}

/** What `stateBytes` made, with these pages. Throws E_SNAPSHOT_INVALID. */
export function modelOf(bytes: Uint8Array, pages: number[]): ModelState {
  try {
    const rest = JSON.parse(new TextDecoder().decode(bytes)) as Omit<ModelState, "pages">;
    const { position, inputs, outputHash } = rest;
    const numbers = [position, outputHash, ...inputs];
    if (!numbers.every((value) => Number.isSafeInteger(value) && value >= 0)) throw new Error();
    return { position, inputs, outputHash, pages };
  } catch (cause) {
    throw new CodedError("E_SNAPSHOT_INVALID", "these bytes are no saved state", { cause });
  }
}

/** The pages that the next step reads and writes. */
export function nextPages(position: number): readonly [number, number] {
  const x = mix(position >> 4, 0x9e3779b9);
  // Mostly a small working set that wanders, now and then something far away.
  const near = ((position >> 10) + (x % 6)) % MODEL_PAGES;
  const far = x % 97 === 0 ? (x >>> 8) % MODEL_PAGES : (near + 1) % MODEL_PAGES;
  return [near, far];
}

/** One position on; `written` is called before a page changes. */
export function step(
  state: ModelState,
  written: (page: number) => void,
  say: (output: ModelOutput) => void,
): void {
  const [page, from] = nextPages(state.position);
  written(page);
  state.pages[page] = mix(state.pages[page] ?? 0, (state.pages[from] ?? 0) + state.position);
  state.position++;
  if (state.position % OUTPUT_EVERY !== 0) return;
  const value = state.pages[page] ?? 0;
  state.outputHash = mix(state.outputHash, value);
  say({ position: state.position, echo: undefined, value });
}

/** An input happens. */
export function give(
  state: ModelState,
  input: number,
  written: (page: number) => void,
  say: (output: ModelOutput) => void,
): void {
  const page = input % MODEL_PAGES;
  written(page);
  state.pages[page] = mix(state.pages[page] ?? 0, input);
  state.inputs.push(input);
  state.outputHash = mix(state.outputHash, input);
  say({ position: state.position, echo: input, value: state.pages[page] ?? 0 });
}

/** 32 hex digits for the whole state. */
export function digestOf(state: ModelState): string {
  let [a, b] = [state.position, state.outputHash];
  for (const page of state.pages) {
    a = mix(a, page);
    b = mix(b, a);
  }
  for (const input of state.inputs) a = mix(a, input);
  const words = [a, b, mix(a, b), mix(b, a + 1)];
  return words.map((word) => word.toString(16).padStart(8, "0")).join("");
}

/** A mixing of two 32-bit numbers. */
export function mix(a: number, b: number): number {
  let x = Math.imul(a ^ 0x85ebca6b, 0xc2b2ae35) ^ (b + 0x27d4eb2f);
  x = Math.imul(x ^ (x >>> 15), 0x2c1b3c6d);
  return (x ^ (x >>> 13)) >>> 0;
}
