/**
 * Errors of the outside world: bad files, bad arguments, a full disk. Each has a code that is
 * listed in docs/errors.md with its cause and its remedy.
 */

/** What a `CodedError` may carry besides its message. */
export interface CodedErrorOptions {
  /** What the person at the keyboard can do about it, one sentence. */
  readonly hint?: string;
  readonly cause?: unknown;
}

/** An error with a stable code (`E_...`), a message and, where there is one, a remedy. */
export class CodedError<Code extends string = string> extends Error {
  override readonly name = "CodedError";
  readonly code: Code;
  readonly hint: string | undefined;

  /** `message` says action, value, state and want: `cannot append block 17: expected block 16`. */
  constructor(code: Code, message: string, options: CodedErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}
