/** How the protocol fails: one typed error, and the close codes that tell the peer of it. */
import { CodedError } from "@dejavm/base";

/** Codes of `protocolError`; docs/errors.md has them all. */
export type ProtocolErrorCode =
  /** Bytes that are no message: wrong length, unknown tag, a limit broken. */
  | "E_PROTOCOL_MALFORMED"
  /** A message that has no place in the present state. */
  | "E_PROTOCOL_STATE"
  /** Something is missing between two messages. */
  | "E_PROTOCOL_SEQUENCE"
  /** No version that both speak. */
  | "E_PROTOCOL_VERSION"
  /** The peer does not know the link that a connection wants to resume: it was restarted. */
  | "E_LINK_UNKNOWN"
  /** No connection for too long. */
  | "E_LINK_LOST"
  /** More waits for the peer than is kept. */
  | "E_LINK_BACKLOG";

const CODES: ReadonlySet<string> = new Set<ProtocolErrorCode>([
  "E_PROTOCOL_MALFORMED",
  "E_PROTOCOL_STATE",
  "E_PROTOCOL_SEQUENCE",
  "E_PROTOCOL_VERSION",
  "E_LINK_UNKNOWN",
  "E_LINK_LOST",
  "E_LINK_BACKLOG",
]);

/** An error of the protocol. */
export type ProtocolError = CodedError<ProtocolErrorCode>;

/** Tells the protocol's errors from others. */
export function isProtocolError(error: unknown): error is ProtocolError {
  return error instanceof CodedError && CODES.has(String(error.code));
}

/** Makes a protocol error; `message` as for `CodedError`. */
export function protocolError(
  code: ProtocolErrorCode,
  message: string,
  hint?: string,
): ProtocolError {
  return new CodedError(code, message, hint === undefined ? {} : { hint });
}

/** WebSocket close codes (RFC 6455, "Status Codes": 4000-4999 are private). */
export const CLOSE_CODE = {
  /** The migration is over, for better or worse. */
  done: 1000,
  /** E_PROTOCOL_MALFORMED, E_PROTOCOL_STATE, E_PROTOCOL_SEQUENCE. */
  protocolError: 4400,
  /** The agent asks who is there: no valid token or certificate. */
  unauthorized: 4401,
  /** E_LINK_UNKNOWN. */
  linkUnknown: 4404,
  /** Nothing was heard for too long. */
  timeout: 4408,
  /** Another connection took this one's place. */
  replaced: 4409,
  /** E_PROTOCOL_VERSION. */
  version: 4426,
  /** Too many links or connections at once. */
  busy: 4429,
} as const;

/** One of `CLOSE_CODE`. */
export type CloseCode = (typeof CLOSE_CODE)[keyof typeof CLOSE_CODE];

/** What the peer's close code says of the link; undefined: it can be dialled again. */
export function errorOfClose(code: number): ProtocolError | undefined {
  switch (code) {
    case CLOSE_CODE.linkUnknown:
      return protocolError(
        "E_LINK_UNKNOWN",
        "cannot resume: the other agent was restarted and does not know this link",
      );
    case CLOSE_CODE.version:
      return protocolError(
        "E_PROTOCOL_VERSION",
        "the other agent speaks no version of the protocol that this one does",
        "update the older one of them",
      );
    case CLOSE_CODE.protocolError:
      return protocolError(
        "E_PROTOCOL_STATE",
        "the other agent ended the link: it could not make sense of what it got",
        "its log says what; both should run the same version",
      );
    default:
      return undefined;
  }
}

/** The close code that tells the peer of an error. */
export function closeCodeOf(code: ProtocolErrorCode): CloseCode {
  switch (code) {
    case "E_PROTOCOL_VERSION":
      return CLOSE_CODE.version;
    case "E_LINK_UNKNOWN":
      return CLOSE_CODE.linkUnknown;
    case "E_LINK_LOST":
      return CLOSE_CODE.timeout;
    case "E_PROTOCOL_MALFORMED":
    case "E_PROTOCOL_STATE":
    case "E_PROTOCOL_SEQUENCE":
    case "E_LINK_BACKLOG":
      return CLOSE_CODE.protocolError;
  }
}
