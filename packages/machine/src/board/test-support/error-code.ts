/** Which error of the outside world an action ends in. */
import { CodedError } from "@dejavm/base";

/** The code of the `CodedError` that `action` throws, or "no error"; other errors go on. */
export function errorCode(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    if (error instanceof CodedError) return String(error.code);
    throw error;
  }
  return "no error";
}
