/** An agent's key and certificate, made on first use and kept in its state directory. */
import { X509Certificate } from "node:crypto";
import { join } from "node:path";
import { readPrivateFile, writePrivateFile } from "../state-dir.ts";
import { type KeyAndCertificate, makeCertificate } from "./certificate.ts";

/** Who an agent is. */
export interface Identity extends KeyAndCertificate {
  readonly fingerprint: Fingerprint;
}

/** sha256 of a certificate: 64 lower-case hex digits. */
export type Fingerprint = string;

const IDENTITY_FILE = "identity.json";

/** Reads the identity in `stateDir`, or makes one for an agent called `name`. */
export function loadIdentity(stateDir: string, name: string): Identity {
  const path = join(stateDir, IDENTITY_FILE);
  const stored = readPrivateFile(path);
  if (stored !== undefined) return withFingerprint(parse(stored));
  const made = makeCertificate(name);
  writePrivateFile(path, `${JSON.stringify(made)}\n`);
  return withFingerprint(made);
}

/** The fingerprint of a certificate in PEM or DER. */
export function fingerprintOf(certificate: X509Certificate): Fingerprint {
  return certificate.fingerprint256.replaceAll(":", "").toLowerCase();
}

function withFingerprint(pair: KeyAndCertificate): Identity {
  return { ...pair, fingerprint: fingerprintOf(new X509Certificate(pair.certificate)) };
}

function parse(text: string): KeyAndCertificate {
  const value: unknown = JSON.parse(text);
  if (typeof value === "object" && value !== null && "key" in value && "certificate" in value) {
    return { key: String(value.key), certificate: String(value.certificate) };
  }
  throw new Error(`${IDENTITY_FILE} has no key and certificate`);
}
