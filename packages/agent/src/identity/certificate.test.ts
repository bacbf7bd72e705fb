import { createPrivateKey, X509Certificate } from "node:crypto";
import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../test-support/temporary.ts";
import { makeCertificate } from "./certificate.ts";
import { integer, objectId, sequence } from "./der.ts";
import { loadIdentity } from "./identity.ts";

const hex = (bytes: Uint8Array) => Buffer.from(bytes).toString("hex");

describe("DER", () => {
  test("integers have no sign and no needless zeros", () => {
    expect(hex(integer(Uint8Array.of(0, 0, 0x7f)))).toBe("02017f");
    expect(hex(integer(Uint8Array.of(0x80)))).toBe("02020080");
    expect(hex(integer(Uint8Array.of(0)))).toBe("020100");
  });

  test("object ids are base 128", () => {
    expect(hex(objectId("1.2.840.10045.4.3.2"))).toBe("06082a8648ce3d040302");
  });

  test("lengths from 128 on have a length", () => {
    expect(hex(sequence(new Uint8Array(127))).slice(0, 4)).toBe("307f");
    expect(hex(sequence(new Uint8Array(128))).slice(0, 6)).toBe("308180");
    expect(hex(sequence(new Uint8Array(300))).slice(0, 8)).toBe("3082012c");
  });
});

describe("a certificate", () => {
  test("is its own, on its own key, and does not expire", () => {
    const { key, certificate } = makeCertificate("host-ä");
    const parsed = new X509Certificate(certificate);
    expect(parsed.subject).toBe("CN=host-ä");
    expect(parsed.issuer).toBe("CN=host-ä");
    expect(parsed.verify(parsed.publicKey)).toBe(true);
    expect(parsed.checkPrivateKey(createPrivateKey(key))).toBe(true);
    expect(parsed.validTo).toContain("9999");
  });

  test("of the same name is another one", () => {
    const [a, b] = [makeCertificate("a"), makeCertificate("a")];
    expect(a.certificate).not.toBe(b.certificate);
  });
});

test("an identity is made once", () => {
  const directory = temporaryDirectory();
  const made = loadIdentity(directory, "a");
  expect(loadIdentity(directory, "b")).toEqual(made);
  expect(made.fingerprint).toMatch(/^[0-9a-f]{64}$/);
});
