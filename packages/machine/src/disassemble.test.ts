/** Forms of text; every instruction is compared with objdump in test/disassembler. */
import { expect, test } from "vitest";
import { disassemble } from "./disassemble.ts";

test.each([
  [0x00c58553, "fadd.s fa0,fa1,fa2,rne"],
  [0x02c5f553, "fadd.d fa0,fa1,fa2"],
  [0x06b5252f, "amoadd.w.aqrl a0,a1,(a0)"],
  [0x30051573, "csrrw a0,mstatus,a0"],
  [0x7c051573, "csrrw a0,0x7c0,a0"],
  [0xfe0008e3, "beq zero,zero,0xfffffffffffffff0"],
  [0xfea52fa7, "fsw fa0,-1(a0)"],
  [0x0330000f, "fence rw,rw"],
  [0x0045200f, "cbo.zero (a0)"],
  [0xffffffff, "illegal 0xffffffff"],
])("[MA12] %i is %s", (bits, text) => {
  expect(disassemble(bits, 0n)).toEqual({ text, length: 4 });
});

test("[MA12] of a compressed instruction the upper half does not matter", () => {
  expect(disassemble(0x1234_557d, 0n)).toEqual({ text: "addi a0,zero,-1", length: 2 });
  expect(disassemble(0x1234_0000, 0n)).toEqual({ text: "illegal 0x0000", length: 2 });
});
