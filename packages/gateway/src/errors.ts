/** Errors of this package; docs/errors.md has their causes and remedies. */
import { CodedError } from "@dejavm/base";

/** Codes of this package. */
export type GatewayErrorCode =
  | "E_NET_ADDRESS"
  | "E_NET_FORWARD"
  | "E_NET_POLICY"
  | "E_NET_PORT_IN_USE"
  | "E_NET_TUNNEL";

/** An error with what to do about it. */
export function gatewayError(
  code: GatewayErrorCode,
  message: string,
  hint: string,
): CodedError<GatewayErrorCode> {
  return new CodedError(code, message, { hint });
}
