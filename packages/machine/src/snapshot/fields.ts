/**
 * Reads the named fields of a saved part with type and range checks. A snapshot comes from
 * outside: whatever is wrong with it ends as one `E_SNAPSHOT_INVALID` that names part and field.
 */
import { CodedError } from "@dejavm/base";
import type { State, StateValue } from "../device/device.ts";

/** An inclusive range of integers. */
export interface IntegerRange {
  readonly min: number;
  readonly max: number;
}

/** What a byte string must look like: exactly `length`, or at most `maxLength` bytes. */
export type BytesShape = { readonly length: number } | { readonly maxLength: number };

/**
 * Opens `state` for reading. `part` is what messages call it: `virtio-blk.0`.
 * Throws `E_SNAPSHOT_INVALID` when `state` is not an object of named fields.
 */
export function fields(state: StateValue, part: string): FieldReader {
  if (!isFields(state)) throw invalid(part, "it", state, "named fields");
  return new FieldReader(state, part, "");
}

type NamedFields = { readonly [field: string]: StateValue };

/** Named fields of one part. Methods throw `E_SNAPSHOT_INVALID` if a field is not as asked. */
export class FieldReader {
  readonly #state: NamedFields;
  readonly #part: string;
  readonly #prefix: string;
  readonly #unread: Set<string>;

  /** Use `fields`; `prefix` is put before field names in messages. */
  constructor(state: NamedFields, part: string, prefix: string) {
    this.#state = state;
    this.#part = part;
    this.#prefix = prefix;
    this.#unread = new Set(Object.keys(state));
  }

  u8(name: string): number {
    return this.integer(name, { min: 0, max: 0xff });
  }

  u16(name: string): number {
    return this.integer(name, { min: 0, max: 0xffff });
  }

  u32(name: string): number {
    return this.integer(name, { min: 0, max: 0xffff_ffff });
  }

  /** A bigint in 0 .. 2^64-1. */
  u64(name: string): bigint {
    const value = this.#take(name);
    if (typeof value === "bigint" && BigInt.asUintN(64, value) === value) return value;
    throw this.invalid(name, "a bigint in 0 .. 2^64-1");
  }

  /** An integer number within `range`. */
  integer(name: string, range: IntegerRange): number {
    const value = this.#take(name);
    const fits =
      typeof value === "number" &&
      Number.isSafeInteger(value) &&
      value >= range.min &&
      value <= range.max;
    if (fits) return value;
    throw this.invalid(name, `an integer in ${range.min} .. ${range.max}`);
  }

  bool(name: string): boolean {
    const value = this.#take(name);
    if (typeof value === "boolean") return value;
    throw this.invalid(name, "true or false");
  }

  /** A string of at most `maxLength` UTF-16 units. */
  string(name: string, maxLength: number): string {
    const value = this.#take(name);
    if (typeof value === "string" && value.length <= maxLength) return value;
    throw this.invalid(name, `a string of at most ${maxLength} characters`);
  }

  /** One of the strings in `choices`. */
  oneOf<Choice extends string>(name: string, choices: readonly Choice[]): Choice {
    const value = this.#take(name);
    const found = choices.find((choice) => choice === value);
    if (found !== undefined) return found;
    throw this.invalid(name, `one of ${choices.join(", ")}`);
  }

  /** A copy, so that the reader's owner and the snapshot share nothing. */
  bytes(name: string, shape: BytesShape): Uint8Array {
    const value = this.#take(name);
    const exact = "length" in shape;
    const wanted = exact ? `${shape.length} bytes` : `at most ${shape.maxLength} bytes`;
    if (value instanceof Uint8Array) {
      if (exact ? value.length === shape.length : value.length <= shape.maxLength) {
        return value.slice();
      }
    }
    throw this.invalid(name, wanted);
  }

  /** The items of a list of at most `maxLength`, unchecked. */
  list(name: string, maxLength: number): readonly StateValue[] {
    const value = this.#take(name);
    if (isList(value) && value.length <= maxLength) return value;
    throw this.invalid(name, `a list of at most ${maxLength} items`);
  }

  /** A list in which every item has named fields. */
  records(name: string, maxLength: number): readonly FieldReader[] {
    return this.list(name, maxLength).map((item, index) => {
      if (isFields(item)) return this.#nested(item, `${name}[${index}]`);
      throw this.invalid(name, `named fields in item ${index}`);
    });
  }

  /** A field that has named fields itself. */
  record(name: string): FieldReader {
    const value = this.#take(name);
    if (isFields(value)) return this.#nested(value, name);
    throw this.invalid(name, "named fields");
  }

  /** A field that has named fields itself, for a part that reads its own state. */
  state(name: string): State {
    const value = this.#take(name);
    if (isFields(value)) return value;
    throw this.invalid(name, "named fields");
  }

  /** A list of states, each for a part that reads its own. */
  states(name: string, length: number): readonly State[] {
    const items = this.list(name, length);
    if (items.length === length && items.every(isFields)) return items;
    throw this.invalid(name, `${length} items with named fields`);
  }

  /** Throws if the state has a field that nobody asked for. */
  end(): void {
    for (const name of this.#unread) throw this.invalid(name, "no field of that name");
  }

  /** The error for a field that has the right type but an impossible value. */
  invalid(name: string, want: string): CodedError<"E_SNAPSHOT_INVALID"> {
    return invalid(this.#part, `field ${this.#prefix}${name}`, this.#get(name), want);
  }

  #nested(state: NamedFields, name: string): FieldReader {
    return new FieldReader(state, this.#part, `${this.#prefix}${name}.`);
  }

  #take(name: string): StateValue | undefined {
    this.#unread.delete(name);
    return this.#get(name);
  }

  #get(name: string): StateValue | undefined {
    return Object.hasOwn(this.#state, name) ? this.#state[name] : undefined;
  }
}

function isList(value: StateValue | undefined): value is readonly StateValue[] {
  return Array.isArray(value);
}

function isFields(value: StateValue | undefined): value is NamedFields {
  return (
    typeof value === "object" && value !== null && !isList(value) && !(value instanceof Uint8Array)
  );
}

/** Longest rendering of a bad value in a message. */
const SHOWN_VALUE_LENGTH = 40;

function invalid(
  part: string,
  what: string,
  value: StateValue | undefined,
  want: string,
): CodedError<"E_SNAPSHOT_INVALID"> {
  const message = `cannot restore ${part}: ${what} is ${describe(value)}, want ${want}`;
  return new CodedError("E_SNAPSHOT_INVALID", message);
}

function describe(value: StateValue | undefined): string {
  if (value === undefined) return "absent";
  if (value === null) return "null";
  if (value instanceof Uint8Array) return `${value.length} bytes`;
  if (isList(value)) return `a list of ${value.length}`;
  if (typeof value === "object") return "an object";
  const text = typeof value === "string" ? JSON.stringify(value) : String(value);
  return text.length <= SHOWN_VALUE_LENGTH ? text : `${text.slice(0, SHOWN_VALUE_LENGTH)}...`;
}
