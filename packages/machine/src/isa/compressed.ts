/**
 * C: each 16-bit instruction as the 32-bit instruction it stands for (unprivileged manual,
 * chapter "C", tables of quadrants 0 to 2 for RV64).
 */
import { OPCODE } from "./define.ts";

const { opImm, opImm32, op, op32, load, store, loadFp, storeFp, lui, jal, jalr, branch } = OPCODE;

interface IType {
  readonly opcode: number;
  readonly funct3: number;
  readonly rd: number;
  readonly rs1: number;
  readonly imm: number;
}

const i = ({ opcode, funct3, rd, rs1, imm }: IType): number =>
  (((imm & 0xfff) << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | opcode) >>> 0;

const s = (opcode: number, funct3: number, rs1: number, rs2: number, imm: number): number =>
  (((imm >> 5) << 25) | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | ((imm & 31) << 7) | opcode) >>>
  0;

const r = (opcode: number, funct3: number, funct7: number, rd: number, rs2: number): number =>
  ((funct7 << 25) | (rs2 << 20) | (rd << 15) | (funct3 << 12) | (rd << 7) | opcode) >>> 0;

/** The field of `c` at [high:low], moved to bit `to`. */
const bits = (c: number, high: number, low: number, to = 0): number =>
  ((c >> low) & ((1 << (high - low + 1)) - 1)) << to;

const signed = (value: number, width: number): number => (value << (32 - width)) >> (32 - width);

/** The 6-bit immediate of CI format, signed. */
const imm6 = (c: number): number => signed(bits(c, 12, 12, 5) | bits(c, 6, 2), 6);
const shamt6 = (c: number): number => bits(c, 12, 12, 5) | bits(c, 6, 2);

/** Bit positions that C scatters offsets over. */
const wordOffset = (c: number): number => bits(c, 12, 10, 3) | bits(c, 6, 6, 2) | bits(c, 5, 5, 6);
const doubleOffset = (c: number): number => bits(c, 12, 10, 3) | bits(c, 6, 5, 6);

function quadrant0(c: number): number {
  const rdShort = bits(c, 4, 2) + 8;
  const rs1Short = bits(c, 9, 7) + 8;
  switch (c >> 13) {
    case 0: {
      const imm = bits(c, 10, 7, 6) | bits(c, 12, 11, 4) | bits(c, 5, 5, 3) | bits(c, 6, 6, 2);
      return imm === 0 ? 0 : i({ opcode: opImm, funct3: 0, rd: rdShort, rs1: 2, imm });
    }
    case 1:
      return i({ opcode: loadFp, funct3: 3, rd: rdShort, rs1: rs1Short, imm: doubleOffset(c) });
    case 2:
      return i({ opcode: load, funct3: 2, rd: rdShort, rs1: rs1Short, imm: wordOffset(c) });
    case 3:
      return i({ opcode: load, funct3: 3, rd: rdShort, rs1: rs1Short, imm: doubleOffset(c) });
    case 5:
      return s(storeFp, 3, rs1Short, rdShort, doubleOffset(c));
    case 6:
      return s(store, 2, rs1Short, rdShort, wordOffset(c));
    case 7:
      return s(store, 3, rs1Short, rdShort, doubleOffset(c));
    default:
      return 0;
  }
}

function arithmetic(c: number): number {
  const rd = bits(c, 9, 7) + 8;
  const rs2 = bits(c, 4, 2) + 8;
  switch (bits(c, 11, 10)) {
    case 0:
      return i({ opcode: opImm, funct3: 5, rd, rs1: rd, imm: shamt6(c) });
    case 1:
      return i({ opcode: opImm, funct3: 5, rd, rs1: rd, imm: shamt6(c) | 0x400 });
    case 2:
      return i({ opcode: opImm, funct3: 7, rd, rs1: rd, imm: imm6(c) });
    default:
  }
  switch (bits(c, 12, 12, 2) | bits(c, 6, 5)) {
    case 0:
      return r(op, 0, 0x20, rd, rs2);
    case 1:
      return r(op, 4, 0, rd, rs2);
    case 2:
      return r(op, 6, 0, rd, rs2);
    case 3:
      return r(op, 7, 0, rd, rs2);
    case 4:
      return r(op32, 0, 0x20, rd, rs2);
    case 5:
      return r(op32, 0, 0, rd, rs2);
    default:
      return 0;
  }
}

function jump(c: number): number {
  const imm = signed(
    bits(c, 12, 12, 11) |
      bits(c, 11, 11, 4) |
      bits(c, 10, 9, 8) |
      bits(c, 8, 8, 10) |
      bits(c, 7, 7, 6) |
      bits(c, 6, 6, 7) |
      bits(c, 5, 3, 1) |
      bits(c, 2, 2, 5),
    12,
  );
  const encoded =
    (bits(imm, 20, 20) << 31) |
    (bits(imm, 10, 1) << 21) |
    (bits(imm, 11, 11) << 20) |
    (bits(imm, 19, 12) << 12);
  return (encoded | jal) >>> 0;
}

function conditional(c: number, funct3: number): number {
  const rs1 = bits(c, 9, 7) + 8;
  const imm = signed(
    bits(c, 12, 12, 8) |
      bits(c, 11, 10, 3) |
      bits(c, 6, 5, 6) |
      bits(c, 4, 3, 1) |
      bits(c, 2, 2, 5),
    9,
  );
  const encoded =
    (bits(imm, 12, 12) << 31) |
    (bits(imm, 10, 5) << 25) |
    (bits(imm, 4, 1) << 8) |
    (bits(imm, 11, 11) << 7);
  return (encoded | (rs1 << 15) | (funct3 << 12) | branch) >>> 0;
}

function quadrant1(c: number): number {
  const rd = bits(c, 11, 7);
  switch (c >> 13) {
    case 0:
      return i({ opcode: opImm, funct3: 0, rd, rs1: rd, imm: imm6(c) });
    case 1:
      return rd === 0 ? 0 : i({ opcode: opImm32, funct3: 0, rd, rs1: rd, imm: imm6(c) });
    case 2:
      return i({ opcode: opImm, funct3: 0, rd, rs1: 0, imm: imm6(c) });
    case 3: {
      if (rd === 2) {
        const imm = signed(
          bits(c, 12, 12, 9) |
            bits(c, 6, 6, 4) |
            bits(c, 5, 5, 6) |
            bits(c, 4, 3, 7) |
            bits(c, 2, 2, 5),
          10,
        );
        return imm === 0 ? 0 : i({ opcode: opImm, funct3: 0, rd, rs1: 2, imm });
      }
      const imm = imm6(c);
      return imm === 0 ? 0 : ((imm << 12) | (rd << 7) | lui) >>> 0;
    }
    case 4:
      return arithmetic(c);
    case 5:
      return jump(c);
    case 6:
      return conditional(c, 0);
    default:
      return conditional(c, 1);
  }
}

const EBREAK = 0x0010_0073;

function registers(c: number): number {
  const rd = bits(c, 11, 7);
  const rs2 = bits(c, 6, 2);
  const high = bits(c, 12, 12) === 1;
  if (rs2 !== 0) {
    return ((rs2 << 20) | ((high ? rd : 0) << 15) | (rd << 7) | op) >>> 0;
  }
  if (rd === 0) return high ? EBREAK : 0;
  return i({ opcode: jalr, funct3: 0, rd: high ? 1 : 0, rs1: rd, imm: 0 });
}

function quadrant2(c: number): number {
  const rd = bits(c, 11, 7);
  const rs2 = bits(c, 6, 2);
  const loadDouble = bits(c, 4, 2, 6) | bits(c, 12, 12, 5) | bits(c, 6, 5, 3);
  const storeDouble = bits(c, 9, 7, 6) | bits(c, 12, 10, 3);
  switch (c >> 13) {
    case 0:
      return i({ opcode: opImm, funct3: 1, rd, rs1: rd, imm: shamt6(c) });
    case 1:
      return i({ opcode: loadFp, funct3: 3, rd, rs1: 2, imm: loadDouble });
    case 2: {
      const imm = bits(c, 3, 2, 6) | bits(c, 12, 12, 5) | bits(c, 6, 4, 2);
      return rd === 0 ? 0 : i({ opcode: load, funct3: 2, rd, rs1: 2, imm });
    }
    case 3:
      return rd === 0 ? 0 : i({ opcode: load, funct3: 3, rd, rs1: 2, imm: loadDouble });
    case 4:
      return registers(c);
    case 5:
      return s(storeFp, 3, 2, rs2, storeDouble);
    case 6:
      return s(store, 2, 2, rs2, bits(c, 8, 7, 6) | bits(c, 12, 9, 2));
    default:
      return s(store, 3, 2, rs2, storeDouble);
  }
}

/**
 * The 32-bit form of compressed instruction `c` (16 bits, low two not 11); 0 where it is
 * reserved or illegal, which as a 32-bit word is illegal too.
 */
export function expandCompressed(c: number): number {
  switch (c & 3) {
    case 0:
      return quadrant0(c);
    case 1:
      return quadrant1(c);
    default:
      return quadrant2(c);
  }
}
