import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { TestRam } from "../../board/test-support/ram.ts";
import { utf8 } from "../../board/text.ts";
import { decodeTohost, HTIF_WRITE_BYTES, Htif } from "./device.ts";

const RAM = 0x8000_0000;
const TOHOST = RAM + 0x1000;
const FROMHOST = RAM + 0x1040;
const BLOCK = RAM + 0x2000;
const TEXT = RAM + 0x3ffe;
const SIZE = 0x2_0000;

function make() {
  const ram = new TestRam(RAM, SIZE);
  const seen = { text: "" };
  const htif = new Htif({
    memory: ram,
    output: (output) => {
      if (output.kind === "console") seen.text += String.fromCharCode(...output.bytes);
    },
    tohost: TOHOST,
    fromhost: FROMHOST,
  });
  const syscall = (...words: readonly bigint[]) => {
    for (const [i, word] of words.entries()) ram.writeU64(BLOCK + 8 * i, word);
    ram.writeU64(TOHOST, BigInt(BLOCK));
    return htif.poll();
  };
  return { ram, htif, seen, syscall };
}

describe("HTIF", () => {
  test.each([
    [0n, { kind: "nothing" }],
    [1n, { kind: "exit", status: 0 }],
    [(1337n << 1n) | 1n, { kind: "exit", status: 1337 }],
    [0x0101_0000_0000_0041n, { kind: "put-character", byte: 0x41 }],
    [0x8000_2000n, { kind: "syscall", address: BLOCK }],
    [0x0100_0000_0000_0000n, { kind: "nothing" }],
    [0x0200_0000_0000_0001n, { kind: "nothing" }],
  ])("%i in tohost means what the interface says", (value, command) => {
    expect(decodeTohost(value)).toEqual(command);
  });

  test("tohost is cleared once its command is done", () => {
    const { ram, htif, seen } = make();
    ram.writeU64(TOHOST, 0x0101_0000_0000_0041n);
    expect(htif.poll()).toEqual({ kind: "continue" });
    expect([seen.text, ram.readU64(TOHOST), ram.readU64(FROMHOST)]).toEqual(["A", 0n, 0n]);
    expect(htif.poll()).toEqual({ kind: "continue" });
    expect(seen.text).toBe("A");
  });

  test("a write prints its bytes and answers with their number", () => {
    const { ram, seen, syscall } = make();
    ram.write(TEXT, utf8("hello"));
    expect(syscall(64n, 1n, BigInt(TEXT), 5n)).toEqual({ kind: "continue" });
    expect([seen.text, ram.readU64(BLOCK)]).toEqual(["hello", 5n]);
    expect([ram.readU64(TOHOST), ram.readU64(FROMHOST)]).toEqual([0n, 1n]);
  });

  test("an exit ends with its status, another call fails with ENOSYS", () => {
    const { ram, syscall } = make();
    expect(syscall(93n, 3n)).toEqual({ kind: "exit", status: 3 });
    expect(syscall(1000n)).toEqual({ kind: "continue" });
    expect(BigInt.asIntN(64, ram.readU64(BLOCK))).toBe(-38n);
  });

  test("a write from outside RAM fails with EFAULT, a longer one than the limit is cut", () => {
    const { ram, seen, syscall } = make();
    syscall(64n, 1n, 0n, 5n);
    expect(BigInt.asIntN(64, ram.readU64(BLOCK))).toBe(-14n);
    syscall(64n, 1n, BigInt(RAM), (1n << 64n) - 1n);
    expect(ram.readU64(BLOCK)).toBe(BigInt(HTIF_WRITE_BYTES));
    expect(seen.text.length).toBe(HTIF_WRITE_BYTES);
  });

  test("each missing page in turn leaves everything as it was until it is there", () => {
    const whole = make();
    whole.ram.write(TEXT, utf8("hello"));
    whole.syscall(64n, 1n, BigInt(TEXT), 5n);
    for (const page of [TOHOST, BLOCK, TEXT, TEXT + 4].map((a) => Math.floor(a / 4096))) {
      const { ram, htif, seen, syscall } = make();
      ram.write(TEXT, utf8("hello"));
      for (const [i, word] of [64n, 1n, BigInt(TEXT), 5n].entries()) {
        ram.writeU64(BLOCK + 8 * i, word);
      }
      ram.writeU64(TOHOST, BigInt(BLOCK));
      const before = ram.bytes.slice();
      ram.absent.add(page);
      expect(htif.poll()).toEqual({ kind: "missing", missing: { pages: [page], blocks: [] } });
      expect([ram.bytes, seen.text]).toEqual([before, ""]);
      ram.absent.clear();
      expect(htif.poll()).toEqual({ kind: "continue" });
      expect([ram.bytes, seen.text]).toEqual([whole.ram.bytes, "hello"]);
      expect(syscall(93n, 0n)).toEqual({ kind: "exit", status: 0 });
    }
  });

  test("random words never throw", () => {
    const prng = new Prng(0x47f);
    const { ram, htif } = make();
    for (let i = 0; i < 20_000; i++) {
      const words = [prng.pick([64n, 93n, prng.u64()]), prng.u64()];
      for (const [j, word] of [...words, BigInt(RAM + prng.below(2 * SIZE))].entries()) {
        ram.writeU64(BLOCK + 8 * j, word);
      }
      ram.writeU64(BLOCK + 24, BigInt(prng.below(64)));
      ram.writeU64(TOHOST, prng.pick([prng.u64(), BigInt(BLOCK), BigInt(RAM + prng.below(SIZE))]));
      expect(htif.poll().kind).not.toBe("missing");
    }
  });
});
