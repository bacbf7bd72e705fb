/**
 * A pairing token: what a person carries from one host to the other. It says by which certificate
 * the inviting agent is known, so that who dials cannot be fooled, and holds a secret that works
 * once, so that the inviting agent knows who dials.
 *
 * ```
 * offset  size
 *  0       1    version, 1
 *  1      32    sha256 of the inviting agent's certificate
 * 33      16    secret
 * 49       4    CRC-32 of the bytes before it, big-endian: a mistyped token is told as such
 * ```
 * As text it is `dvm-` and base64url.
 */
import { crc32 } from "node:zlib";
import { agentError } from "../errors.ts";
import type { Fingerprint } from "../identity/identity.ts";

/** What a token says. */
export interface PairingToken {
  readonly fingerprint: Fingerprint;
  /** SECRET_BYTES bytes. */
  readonly secret: Uint8Array;
}

/** Length of a token's secret: 128 bits. */
export const SECRET_BYTES = 16;

const VERSION = 1;
const PREFIX = "dvm-";
const FINGERPRINT_BYTES = 32;
const CHECKED_BYTES = 1 + FINGERPRINT_BYTES + SECRET_BYTES;
const TOKEN_BYTES = CHECKED_BYTES + 4;

/** A token as text. */
export function formatToken({ fingerprint, secret }: PairingToken): string {
  const bytes = Buffer.alloc(TOKEN_BYTES);
  bytes[0] = VERSION;
  bytes.set(Buffer.from(fingerprint, "hex"), 1);
  bytes.set(secret, 1 + FINGERPRINT_BYTES);
  bytes.writeUInt32BE(crc32(bytes.subarray(0, CHECKED_BYTES)), CHECKED_BYTES);
  return PREFIX + bytes.toString("base64url");
}

/** Throws E_PAIR_TOKEN for anything that `formatToken` does not give. */
export function parseToken(text: string): PairingToken {
  const bytes = Buffer.from(text.slice(PREFIX.length), "base64url");
  const whole = text.startsWith(PREFIX) && bytes.length === TOKEN_BYTES;
  if (!whole || bytes.toString("base64url") !== text.slice(PREFIX.length)) throw badToken("form");
  if (bytes.readUInt32BE(CHECKED_BYTES) !== crc32(bytes.subarray(0, CHECKED_BYTES))) {
    throw badToken("checksum");
  }
  if (bytes[0] !== VERSION) throw badToken("version");
  return {
    fingerprint: bytes.toString("hex", 1, 1 + FINGERPRINT_BYTES),
    secret: Uint8Array.from(bytes.subarray(1 + FINGERPRINT_BYTES, CHECKED_BYTES)),
  };
}

function badToken(what: string): Error {
  const message = `cannot use the pairing token: its ${what} is wrong`;
  return agentError("E_PAIR_TOKEN", message, "copy the whole token that `dejavm pair` printed");
}
