/**
 * A self-signed certificate (RFC 5280) on an ECDSA P-256 key. Agents know each other by its
 * fingerprint alone; names and dates in it mean nothing, so it never expires (section 4.1.2.5).
 */
import {
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
} from "node:crypto";
import {
  bitString,
  explicit,
  generalizedTime,
  integer,
  objectId,
  sequence,
  set,
  utcTime,
  utf8,
} from "./der.ts";

/** A private key and the certificate on it, both PEM. */
export interface KeyAndCertificate {
  readonly key: string;
  readonly certificate: string;
}

const ECDSA_WITH_SHA256 = "1.2.840.10045.4.3.2";
const COMMON_NAME = "2.5.4.3";
const X509_V3 = Uint8Array.of(2);
const SERIAL_BYTES = 16;
const PEM_COLUMNS = /.{1,64}/g;

/** Makes a new key and its certificate. `name` is what tools show as its subject. */
export function makeCertificate(name: string): KeyAndCertificate {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });
  const body = certificateBody(name, privateKey);
  const signature = sign("sha256", body, privateKey);
  const der = sequence(body, sequence(objectId(ECDSA_WITH_SHA256)), bitString(signature));
  const lines = Buffer.from(der).toString("base64").match(PEM_COLUMNS) ?? [];
  return {
    key: privateKey.export({ type: "pkcs8", format: "pem" }),
    certificate: ["-----BEGIN CERTIFICATE-----", ...lines, "-----END CERTIFICATE-----", ""].join(
      "\n",
    ),
  };
}

function certificateBody(name: string, key: KeyObject): Uint8Array {
  const subject = sequence(set(sequence(objectId(COMMON_NAME), utf8(name))));
  const publicKey = createPublicKey(key).export({ type: "spki", format: "der" });
  return sequence(
    explicit(0, integer(X509_V3)),
    integer(randomBytes(SERIAL_BYTES)),
    sequence(objectId(ECDSA_WITH_SHA256)),
    subject,
    sequence(utcTime("700101000000Z"), generalizedTime("99991231235959Z")),
    subject,
    publicKey,
  );
}
