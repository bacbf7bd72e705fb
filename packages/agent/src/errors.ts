/** Codes of this package; docs/errors.md has their causes and remedies. */
import { CodedError, type CodedErrorOptions } from "@dejavm/base";

/** See docs/errors.md. */
export type AgentErrorCode =
  | "E_AGENT_ABSENT"
  | "E_AGENT_CONFIG"
  | "E_AGENT_LISTEN"
  | "E_AGENT_PROTOCOL"
  | "E_AGENT_RUNNING"
  | "E_CONSOLE_SLOW"
  | "E_DISK_ABSENT"
  | "E_DISK_FULL"
  | "E_EXEC_LOST"
  | "E_EXEC_NO_AGENT"
  | "E_FILE_DAMAGED"
  | "E_FILES_BUSY"
  | "E_GUEST_ENDED"
  | "E_NO_MEMORY"
  | "E_PAIR_REFUSED"
  | "E_PAIR_TOKEN"
  | "E_PEER_CERTIFICATE"
  | "E_PEER_UNKNOWN"
  | "E_PEER_UNREACHABLE"
  | "E_STATE_DIR"
  | "E_VM_EXISTS"
  | "E_VM_NAME"
  | "E_VM_NO_NETWORK"
  | "E_VM_OUTDATED"
  | "E_VM_STATE"
  | "E_VM_UNKNOWN";

/** A `CodedError` whose code this package lists. */
export function agentError(
  code: AgentErrorCode,
  message: string,
  hint?: string,
  cause?: unknown,
): CodedError<AgentErrorCode> {
  const options: CodedErrorOptions = hint === undefined ? { cause } : { hint, cause };
  return new CodedError(code, message, options);
}
