import { crc32 } from "node:zlib";
import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import {
  decodeExecBody,
  EXEC_MAX_BODY_BYTES,
  ExecDecoder,
  type ExecMessage,
  encodeExecMessage,
} from "./exec-protocol.ts";

const BYTES = Uint8Array.from({ length: 256 }, (_, index) => index);

const MESSAGES: readonly ExecMessage[] = [
  { type: "hello", version: 1, nonce: 0x7e7d7e7d },
  {
    type: "exec",
    id: 1,
    argv: ["sh", "-c", "echo ~}é"],
    env: ["A=b", "LONG=".padEnd(3000, "x")],
    directory: "/tmp",
  },
  { type: "stdin", id: 2, bytes: BYTES },
  { type: "stdin-end", id: 0xffffffff },
  { type: "credit", id: 3, count: 65536 },
  { type: "kill", id: 4, signal: 15 },
  { type: "stdout", id: 5, bytes: new Uint8Array(0) },
  { type: "stderr", id: 6, bytes: BYTES },
  { type: "exit", id: 7, exit: { kind: "exited", status: 255 } },
  { type: "exit", id: 8, exit: { kind: "signalled", signal: 9 } },
  { type: "exit", id: 9, exit: { kind: "not-started", errno: 2 } },
];

function stream(messages: readonly ExecMessage[]): Uint8Array {
  return Buffer.concat(messages.map(encodeExecMessage));
}

describe("exec protocol", () => {
  test.each<[string, ExecMessage]>([
    ["7e010000000001000000000089bd55617e", { type: "hello", version: 1, nonce: 0 }],
    [
      "7e0202010000010002006c7301000300413d7d5e0000d713c4df7e",
      { type: "exec", id: 258, argv: ["ls"], env: ["A=~"], directory: "" },
    ],
    [
      "7e090201000001090000009e0dabbd7e",
      { type: "exit", id: 258, exit: { kind: "signalled", signal: 9 } },
    ],
  ])("golden bytes %s", (hex, message) => {
    expect(Buffer.from(encodeExecMessage(message)).toString("hex")).toBe(hex);
    expect(new ExecDecoder().push(Buffer.from(hex, "hex"))).toEqual([message]);
  });

  test("every message comes out as it went in, however the bytes are cut", () => {
    const prng = new Prng(7);
    const bytes = stream(MESSAGES);
    for (let round = 0; round < 50; round++) {
      const decoder = new ExecDecoder();
      const got: ExecMessage[] = [];
      for (let at = 0; at < bytes.length; ) {
        const end = at + 1 + prng.below(round === 0 ? 1 : 200);
        got.push(...decoder.push(bytes.subarray(at, end)));
        at = end;
      }
      expect(got).toEqual(MESSAGES);
      expect(decoder.rejectedFrames).toBe(0);
    }
  });

  test("a frame has its flags only at its ends", () => {
    for (const message of MESSAGES) {
      const frame = encodeExecMessage(message);
      expect([frame.indexOf(0x7e), frame.lastIndexOf(0x7e)]).toEqual([0, frame.length - 1]);
      expect(frame.subarray(1, -1).includes(0x7e)).toBe(false);
    }
  });

  test("after garbage and half frames the next frame is read", () => {
    const prng = new Prng(11);
    const wanted = MESSAGES[2];
    if (wanted === undefined) throw new Error("no message");
    const frame = encodeExecMessage(wanted);
    for (let round = 0; round < 200; round++) {
      const decoder = new ExecDecoder();
      const garbage = Uint8Array.from({ length: prng.below(300) }, () => prng.below(256));
      decoder.push(garbage);
      decoder.push(frame.subarray(0, prng.below(frame.length)));
      expect(decoder.push(frame).at(-1)).toEqual(wanted);
    }
  });

  test("a changed bit never gives a message of other content", () => {
    const prng = new Prng(13);
    for (const message of MESSAGES) {
      const frame = encodeExecMessage(message);
      for (let round = 0; round < 100; round++) {
        const bad = frame.slice();
        const at = 1 + prng.below(bad.length - 2);
        bad[at] = (bad[at] ?? 0) ^ (1 << prng.below(8));
        for (const got of new ExecDecoder().push(bad)) expect(got).toEqual(message);
      }
    }
  });

  test("random bodies with a right checksum never throw", () => {
    const prng = new Prng(17);
    for (let round = 0; round < 2000; round++) {
      const payload = Uint8Array.from({ length: prng.below(40) }, () => prng.below(256));
      const frame = encodeExecMessage({ type: "stdin", id: prng.below(1000), bytes: payload });
      // The type is inside the checksum, so the body is decoded with it recomputed.
      const body = unescape(frame);
      body[0] = prng.below(12);
      expect(() => decodeExecBody(withChecksum(body))).not.toThrow();
    }
  });

  test("the largest body is taken, one byte more is refused on both sides", () => {
    const room = EXEC_MAX_BODY_BYTES - 9;
    const largest = { type: "stdout", id: 1, bytes: new Uint8Array(room) } as const;
    expect(new ExecDecoder().push(encodeExecMessage(largest))).toEqual([largest]);
    const larger = { ...largest, bytes: new Uint8Array(room + 1) };
    expect(() => encodeExecMessage(larger)).toThrow(
      expect.objectContaining({ code: "E_EXEC_LIMIT" }),
    );
    const flood = new Uint8Array(EXEC_MAX_BODY_BYTES + 1);
    const decoder = new ExecDecoder();
    expect(decoder.push(Buffer.concat([flood, encodeExecMessage(largest)]))).toEqual([largest]);
    expect(decoder.rejectedFrames).toBe(1);
  });
});

function unescape(frame: Uint8Array): Uint8Array {
  const body: number[] = [];
  for (let at = 1; at < frame.length - 1; at++) {
    const byte = frame[at] ?? 0;
    body.push(byte === 0x7d ? (frame[++at] ?? 0) ^ 0x20 : byte);
  }
  return Uint8Array.from(body);
}

function withChecksum(body: Uint8Array): Uint8Array {
  const bytes = Buffer.from(body);
  bytes.writeUInt32LE(crc32(bytes.subarray(0, -4)), bytes.length - 4);
  return bytes;
}
