/** What machines and agents may be called: a file's name and a part of a URL without quoting. */
import { agentError } from "./errors.ts";

/** Lower-case letters, digits and `. _ -`, a letter or digit first, at most 32. */
export const VM_NAME = /^[a-z0-9][a-z0-9._-]{0,31}$/;
/** As a machine's, up to 63: host names are the usual ones. */
export const AGENT_NAME = /^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/;

/** Gives `text` back, or throws E_VM_NAME. */
export function checkVmName(text: string): string {
  if (VM_NAME.test(text)) return text;
  throw agentError(
    "E_VM_NAME",
    `cannot call a machine ${JSON.stringify(text)}`,
    "use lower-case letters, digits and . _ -, at most 32, a letter or digit first",
  );
}
