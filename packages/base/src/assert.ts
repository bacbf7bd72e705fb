/**
 * Assertions for our own mistakes. They stay in production; nothing catches them to go on.
 * Failures of the outside world are `CodedError`s instead.
 */

/** Thrown when the program contradicts itself: a defect in Déjà VM, never a user's mistake. */
export class AssertionError extends Error {
  override readonly name = "AssertionError";
}

/** Throws `AssertionError` unless `condition` holds. */
export function assert(condition: boolean, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** The end of an exhaustive `switch`: compiles only if every case was handled. */
export function unreachable(value: never, what = "value"): never {
  throw new AssertionError(`unexpected ${what}: ${JSON.stringify(value)}`);
}
