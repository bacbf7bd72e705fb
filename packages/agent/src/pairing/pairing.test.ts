import { describe, expect, test } from "vitest";
import { temporaryDirectory } from "../test-support/temporary.ts";
import { INVITATION_MS, Invitations } from "./invitations.ts";
import { PeerBook } from "./peers.ts";
import { formatToken, parseToken } from "./token.ts";

const TOKEN = { fingerprint: "ab".repeat(32), secret: new Uint8Array(16).fill(7) };

describe("a token", () => {
  test("comes back as it was", () => {
    expect(parseToken(formatToken(TOKEN))).toEqual(TOKEN);
  });

  test("with any character changed, missing or added is E_PAIR_TOKEN", () => {
    const text = formatToken(TOKEN);
    const wrong: unknown = expect.objectContaining({ code: "E_PAIR_TOKEN" });
    for (let at = 0; at < text.length; at++) {
      const other = text[at] === "x" ? "y" : "x";
      expect(() => parseToken(text.slice(0, at) + other + text.slice(at + 1))).toThrow(wrong);
      expect(() => parseToken(text.slice(0, at) + text.slice(at + 1))).toThrow(wrong);
    }
    for (const odd of ["", "dvm-", `${text}A`, `${text}=`, ` ${text}`]) {
      expect(() => parseToken(odd)).toThrow(wrong);
    }
  });
});

describe("an invitation", () => {
  const secret = (byte: number) => new Uint8Array(16).fill(byte);
  const refused: unknown = expect.objectContaining({ code: "E_PAIR_REFUSED" });

  test("[AG2] works once", () => {
    const invitations = new Invitations();
    invitations.add(secret(1), 0);
    expect(() => invitations.redeem(secret(2), 1)).toThrow(refused);
    invitations.redeem(secret(1), 1);
    expect(() => invitations.redeem(secret(1), 1)).toThrow(refused);
  });

  test("[AG2] holds for ten minutes", () => {
    const invitations = new Invitations();
    invitations.add(secret(1), 0);
    invitations.add(secret(2), 0);
    invitations.redeem(secret(1), INVITATION_MS - 1);
    expect(() => invitations.redeem(secret(2), INVITATION_MS)).toThrow(refused);
  });

  test("of another length is refused", () => {
    const invitations = new Invitations();
    invitations.add(secret(1), 0);
    expect(() => invitations.redeem(new Uint8Array(15), 1)).toThrow(refused);
  });

  test("the oldest of more than sixteen goes", () => {
    const invitations = new Invitations();
    for (let i = 0; i < 17; i++) invitations.add(secret(i), 0);
    expect(() => invitations.redeem(secret(0), 1)).toThrow(refused);
    invitations.redeem(secret(1), 1);
    invitations.redeem(secret(16), 1);
  });
});

describe("peers", () => {
  const peer = { name: "b", fingerprint: "cd".repeat(32), address: "b:7447" };

  test("are there again after a restart", () => {
    const directory = temporaryDirectory();
    new PeerBook(directory).add(peer);
    const book = new PeerBook(directory);
    expect(book.named("b")).toEqual(peer);
    expect(book.withFingerprint(peer.fingerprint)).toEqual(peer);
    book.remove("b");
    expect(() => new PeerBook(directory).named("b")).toThrow(
      expect.objectContaining({ code: "E_PEER_UNKNOWN" }),
    );
  });

  test("one that pairs again takes the place of its old entry", () => {
    const book = new PeerBook(temporaryDirectory());
    book.add(peer);
    book.add({ name: "b", fingerprint: "ef".repeat(32) });
    book.add({ name: "c", fingerprint: "ef".repeat(32) });
    expect(book.peers).toEqual([{ name: "c", fingerprint: "ef".repeat(32) }]);
  });
});
