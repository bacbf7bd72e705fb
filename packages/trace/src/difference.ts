/**
 * What two machines that should be equal differ in, and where in an execution they came apart.
 * One of the two may be far away: then what it said of itself takes its place.
 */
import { assert } from "@dejavm/base";
import { type Position, position, type State, type StateValue } from "@dejavm/machine";

/** What a comparison needs of a machine; `Machine` of @dejavm/machine has it. */
export interface InspectableMachine {
  save(): State;
  pageDigests(): BigUint64Array;
  readPage(page: number): Uint8Array;
}

/** A machine's state as far as it can be sent: 16 bytes for each page instead of its content. */
export interface Inspection {
  readonly state: State;
  /** As `Machine.pageDigests`. */
  readonly pageDigests: BigUint64Array;
  /** Where the machine is at hand; gives a view. */
  readonly readPage?: (page: number) => Uint8Array;
}

/** One thing in which machines differ. */
export type Difference =
  /** Registers, devices and disk chunks by the path of their field: `hart.x10`. */
  | {
      readonly kind: "field";
      readonly path: string;
      readonly expected: string;
      readonly actual: string;
    }
  /** `offset` of the first byte that differs; undefined where only one page is at hand. */
  | { readonly kind: "page"; readonly page: number; readonly offset: number | undefined };

/** Differences that a report shows; there may be more. */
export const MAX_DIFFERENCES = 16;

/** Looks at a machine as it is now; `readPage` reads what it then is. */
export function inspect(machine: InspectableMachine): Inspection {
  const { state, pageDigests } = { state: machine.save(), pageDigests: machine.pageDigests() };
  return { state, pageDigests, readPage: (page) => machine.readPage(page) };
}

/** The first differences: registers and devices, then pages by number. Empty: they are equal. */
export function differences(expected: Inspection, actual: Inspection): Difference[] {
  const found: Difference[] = [];
  for (const difference of fieldDifferences(expected.state, actual.state, "")) {
    if (found.push(difference) === MAX_DIFFERENCES) return found;
  }
  const words = Math.max(expected.pageDigests.length, actual.pageDigests.length);
  for (let page = 0; page * 2 < words; page++) {
    const same = [0, 1].every((half) => {
      return expected.pageDigests[page * 2 + half] === actual.pageDigests[page * 2 + half];
    });
    if (same) continue;
    const offset = firstDifferent(expected.readPage?.(page), actual.readPage?.(page));
    if (found.push({ kind: "page", page, offset }) === MAX_DIFFERENCES) return found;
  }
  return found;
}

function* fieldDifferences(
  expected: StateValue | undefined,
  actual: StateValue | undefined,
  path: string,
): Generator<Difference, void, undefined> {
  const [one, other] = [children(expected), children(actual)];
  if (one === undefined || other === undefined) {
    const [want, have] = [textOf(expected), textOf(actual)];
    if (want !== have) yield { kind: "field", path, expected: want, actual: have };
    return;
  }
  const prefix = path === "" ? "" : `${path}.`;
  for (const name of new Set([...one.keys(), ...other.keys()])) {
    yield* fieldDifferences(one.get(name), other.get(name), `${prefix}${name}`);
  }
}

function children(value: StateValue | undefined): Map<string, StateValue> | undefined {
  if (typeof value !== "object" || value instanceof Uint8Array) return undefined;
  return new Map(Object.entries(value));
}

/** Bytes of a value that a report shows. */
const SHOWN_BYTES = 32;

function textOf(value: StateValue | undefined): string {
  if (value === undefined) return "none";
  if (typeof value === "bigint") return `0x${value.toString(16)}`;
  if (value instanceof Uint8Array) {
    const shown = Array.from(value.subarray(0, SHOWN_BYTES), hexByte).join("");
    // The rest counts too, but nobody reads it.
    const sum = value.reduce((total, byte) => (total * 31 + byte) >>> 0, 0);
    return value.length <= SHOWN_BYTES ? shown : `${shown}... (${value.length} bytes, ${sum})`;
  }
  return typeof value === "object" ? JSON.stringify(Object.keys(value)) : String(value);
}

const hexByte = (byte: number): string => byte.toString(16).padStart(2, "0");

function firstDifferent(one?: Uint8Array, other?: Uint8Array): number | undefined {
  if (one === undefined || other === undefined) return undefined;
  const offset = one.findIndex((byte, i) => byte !== other[i]);
  return offset < 0 ? undefined : offset;
}

/** An execution that can be looked at anywhere: it runs from its start as often as needed. */
export interface Subject {
  readonly machine: InspectableMachine & { readonly position: Position; digest(): string };
  /** Goes forward to `until`, exactly, and does what happens there. */
  runTo(until: Position): void;
}

/** Where two executions came apart. */
export interface Parting {
  /** The last position at which they were equal, and the first at which they were not. */
  readonly low: Position;
  readonly high: Position;
  /** What they differ in at `high`. */
  readonly differences: readonly Difference[];
}

/** What a search for a parting works with; see `findParting`. */
export interface PartingSearch {
  readonly low: Position;
  readonly high: Position;
  readonly expected: () => Subject;
  readonly actual: () => Subject;
}

/**
 * Finds the step in which two executions of the same trace come apart, by halving: they are equal
 * at `low` and differ at `high`. `expected` and `actual` make each from its start, at or before
 * `low`. Takes about log2(high - low) runs of each.
 */
export function findParting(search: PartingSearch): Parting {
  const steps = partingSteps(search);
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
}

/** The same, one halving at a time; yields the interval that is left. */
export function* partingSteps(
  options: PartingSearch,
): Generator<{ readonly low: Position; readonly high: Position }, Parting> {
  let { low, high } = options;
  assert(low < high, `an interval from ${low} to ${high}`);
  let pair: readonly Subject[] = [];
  const goTo = (where: Position): readonly Subject[] => {
    const beyond = pair.some(({ machine }) => machine.position > where);
    if (beyond || pair.length === 0) pair = [options.expected(), options.actual()];
    for (const subject of pair) subject.runTo(where);
    return pair;
  };
  while (high - low > 1n) {
    yield { low, high };
    const middle = position((low + high) / 2n);
    const [one, other] = goTo(middle).map(({ machine }) => machine.digest());
    if (one === other) low = middle;
    else high = middle;
  }
  const [one, other] = goTo(high).map(({ machine }) => inspect(machine));
  const found = one === undefined || other === undefined ? [] : differences(one, other);
  return { low, high, differences: found };
}
