import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { ELF_MAX_SEGMENTS, type ElfProgram, readElf } from "./elf.ts";
import { elf, type TestSegment } from "./test-support/config.ts";
import { errorCode } from "./test-support/error-code.ts";

const RAM = { base: 0x8000_0000, size: 0x10_0000 };
const CODE: TestSegment = { address: 0x8000_0000n, bytes: Uint8Array.of(1, 2, 3, 4) };

describe("ELF programs", () => {
  test("segments go to their physical addresses with their zeroed rest", () => {
    const data = { address: 0x8000_1000n, bytes: Uint8Array.of(9), memoryBytes: 64n };
    const program = readElf(elf({ segments: [CODE, data], entry: 0x8000_0002n }), RAM);
    expect(program).toEqual({
      entry: 0x8000_0002n,
      segments: [
        { address: 0x8000_0000, bytes: CODE.bytes, memoryBytes: 4 },
        { address: 0x8000_1000, bytes: data.bytes, memoryBytes: 64 },
      ],
      symbols: {},
    });
  });

  test("finds the simulator's symbols and no others", () => {
    const symbols = { main: 1n, tohost: 0x8000_1000n, tohost2: 5n, begin_signature: 0x8000_2000n };
    const { symbols: found } = readElf(elf({ segments: [CODE], symbols }), RAM);
    expect(found).toEqual({ tohost: 0x8000_1000n, begin_signature: 0x8000_2000n });
  });

  test("a position-independent program linked at 0 moves to the start of RAM", () => {
    const segments = [{ ...CODE, address: 0n }];
    const bytes = elf({ segments, type: 3, entry: 2n, symbols: { tohost: 8n } });
    const program = readElf(bytes, RAM);
    expect(program.entry).toBe(0x8000_0002n);
    expect(program.segments[0]?.address).toBe(RAM.base);
    expect(program.symbols).toEqual({ tohost: 0x8000_0008n });
    expect(errorCode(() => readElf(elf({ segments }), RAM))).toBe("E_ELF_OUTSIDE_RAM");
  });

  test.each([
    [-1n, "E_ELF_OUTSIDE_RAM"],
    [0n, "no error"],
    [0xf_fffcn, "no error"],
    [0xf_fffdn, "E_ELF_OUTSIDE_RAM"],
    [0xffff_ffff_0000_0000n, "E_ELF_OUTSIDE_RAM"],
  ])("a segment at RAM + %i: %s", (offset, code) => {
    const address = BigInt.asUintN(64, 0x8000_0000n + offset);
    const bytes = elf({ segments: [{ ...CODE, address }] });
    expect(errorCode(() => readElf(bytes, RAM))).toBe(code);
  });

  test.each([-1, 0, 1])("limit of segments %i", (excess) => {
    const segments = Array.from({ length: ELF_MAX_SEGMENTS + excess }, () => CODE);
    const code = errorCode(() => readElf(elf({ segments }), RAM));
    expect(code).toBe(excess > 0 ? "E_ELF_INVALID" : "no error");
  });

  test.each([
    ["not an ELF", 0, 0],
    ["32-bit", 4, 1],
    ["big-endian", 5, 2],
    ["a relocatable object", 16, 1],
    ["of another machine", 18, 62],
    ["without segments", 56, 0],
    ["with odd program headers", 54, 55],
    ["with a program header table past its end", 38, 1],
    ["with a section table past its end", 46, 1],
    ["with a segment past its end", 64 + 8 + 2, 1],
    ["with a segment larger than its memory", 64 + 40, 3],
  ])("refuses a file that is %s", (_, offset, value) => {
    const bytes = elf({ segments: [CODE], symbols: { tohost: 0n } });
    bytes[offset] = value;
    expect(errorCode(() => readElf(bytes, RAM))).toBe("E_ELF_INVALID");
  });

  test("every truncation and random damage ends in a coded error or a program within RAM", () => {
    const whole = elf({ segments: [CODE, CODE], symbols: { tohost: 1n, fromhost: 2n } });
    for (let length = 0; length < whole.length; length++) {
      expect(errorCode(() => readElf(whole.subarray(0, length), RAM))).toBe("E_ELF_INVALID");
    }
    const prng = new Prng(0xe1f);
    for (let i = 0; i < 20_000; i++) {
      const bytes = whole.slice();
      for (let n = prng.below(4); n >= 0; n--) bytes[prng.below(bytes.length)] = prng.below(256);
      let program: ElfProgram | undefined;
      const code = errorCode(() => (program = readElf(bytes, RAM)));
      expect(["no error", "E_ELF_INVALID", "E_ELF_OUTSIDE_RAM"]).toContain(code);
      for (const { address, memoryBytes } of program?.segments ?? []) {
        expect(address >= RAM.base && address + memoryBytes <= RAM.base + RAM.size).toBe(true);
      }
    }
  });
});
