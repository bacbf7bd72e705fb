/**
 * A small assembler for guest programs in tests: encodings from the manuals by table, symbolic
 * labels, positions anywhere in one image. Independent of the machine's own instruction table.
 */
import { assert } from "@dejavm/base";

/** ABI register numbers. */
export const REG = {
  zero: 0,
  ra: 1,
  sp: 2,
  gp: 3,
  tp: 4,
  t0: 5,
  t1: 6,
  t2: 7,
  s0: 8,
  s1: 9,
  a0: 10,
  a1: 11,
  a2: 12,
  a3: 13,
  a4: 14,
  a5: 15,
  a6: 16,
  a7: 17,
  s2: 18,
  s3: 19,
  s4: 20,
  s5: 21,
  s6: 22,
  s7: 23,
  s8: 24,
  s9: 25,
  s10: 26,
  s11: 27,
  t3: 28,
  t4: 29,
  t5: 30,
  t6: 31,
} as const;

/** Numbers of the CSRs that programs use. */
export const CSR = {
  fflags: 0x001,
  fcsr: 0x003,
  cycle: 0xc00,
  time: 0xc01,
  instret: 0xc02,
  sstatus: 0x100,
  scounteren: 0x106,
  senvcfg: 0x10a,
  stvec: 0x105,
  stimecmp: 0x14d,
  satp: 0x180,
  mstatus: 0x300,
  medeleg: 0x302,
  mideleg: 0x303,
  mie: 0x304,
  mtvec: 0x305,
  mcounteren: 0x306,
  menvcfg: 0x30a,
  mscratch: 0x340,
  mepc: 0x341,
  mcause: 0x342,
  mtval: 0x343,
  mip: 0x344,
  mcycle: 0xb00,
  minstret: 0xb02,
} as const;

/** opcode, funct3, funct7 */
const R_FORM = {
  add: [0x33, 0, 0x00],
  sub: [0x33, 0, 0x20],
  sll: [0x33, 1, 0x00],
  xor: [0x33, 4, 0x00],
  or: [0x33, 6, 0x00],
  and: [0x33, 7, 0x00],
  mul: [0x33, 0, 0x01],
  div: [0x33, 4, 0x01],
  "fadd.d": [0x53, 7, 0x01],
  "fdiv.d": [0x53, 7, 0x0d],
  "fmul.d": [0x53, 7, 0x09],
  "fadd.s": [0x53, 7, 0x00],
  "amoadd.w": [0x2f, 2, 0x00 << 2],
  "amoadd.d": [0x2f, 3, 0x00 << 2],
  "amoswap.d": [0x2f, 3, 0x01 << 2],
  "amoor.d": [0x2f, 3, 0x08 << 2],
  "amoand.d": [0x2f, 3, 0x0c << 2],
  "lr.d": [0x2f, 3, 0x02 << 2],
  "sc.d": [0x2f, 3, 0x03 << 2],
  "lr.w": [0x2f, 2, 0x02 << 2],
  "sc.w": [0x2f, 2, 0x03 << 2],
  "sfence.vma": [0x73, 0, 0x09],
} as const;

/** opcode, funct3 */
const I_FORM = {
  addi: [0x13, 0],
  slli: [0x13, 1],
  xori: [0x13, 4],
  srli: [0x13, 5],
  ori: [0x13, 6],
  andi: [0x13, 7],
  addiw: [0x1b, 0],
  jalr: [0x67, 0],
  lb: [0x03, 0],
  lh: [0x03, 1],
  lw: [0x03, 2],
  ld: [0x03, 3],
  lbu: [0x03, 4],
  lhu: [0x03, 5],
  lwu: [0x03, 6],
  flw: [0x07, 2],
  fld: [0x07, 3],
} as const;

const S_FORM = {
  sb: [0x23, 0],
  sh: [0x23, 1],
  sw: [0x23, 2],
  sd: [0x23, 3],
  fsw: [0x27, 2],
  fsd: [0x27, 3],
} as const;

const B_FORM = { beq: 0, bne: 1, blt: 4, bge: 5, bltu: 6, bgeu: 7 } as const;
const CSR_FORM = { csrrw: 1, csrrs: 2, csrrc: 3, csrrwi: 5, csrrsi: 6, csrrci: 7 } as const;
const WORDS = {
  ecall: 0x0000_0073,
  ebreak: 0x0010_0073,
  mret: 0x3020_0073,
  sret: 0x1020_0073,
  wfi: 0x1050_0073,
  "fence.i": 0x0000_100f,
  nop: 0x0000_0013,
} as const;

export type RName = keyof typeof R_FORM;
export type LoadName = Exclude<keyof typeof I_FORM, "jalr">;
export type StoreName = keyof typeof S_FORM;

const encodeR = (name: RName, rd: number, rs1: number, rs2: number): number => {
  const [opcode, funct3, funct7] = R_FORM[name];
  return ((funct7 << 25) | (rs2 << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | opcode) >>> 0;
};

/** The word of a register-immediate instruction; `imm` is -2048 .. 2047, or a shift amount. */
function encodeI(name: keyof typeof I_FORM, rd: number, rs1: number, imm: number): number {
  const [opcode, funct3] = I_FORM[name];
  return (((imm & 0xfff) << 20) | (rs1 << 15) | (funct3 << 12) | (rd << 7) | opcode) >>> 0;
}

const bit = (value: number, from: number, to: number): number => ((value >> from) & 1) << to;

function encodeB(name: keyof typeof B_FORM, rs1: number, rs2: number, offset: number): number {
  assert(offset >= -4096 && offset < 4096, "a branch reaches 4 KiB");
  const low = (((offset >> 1) & 15) << 8) | bit(offset, 11, 7);
  const high = (((offset >> 5) & 63) << 25) | bit(offset, 12, 31);
  return (high | (rs2 << 20) | (rs1 << 15) | (B_FORM[name] << 12) | low | 0x63) >>> 0;
}

function encodeJ(rd: number, offset: number): number {
  const scattered =
    bit(offset, 20, 31) |
    (((offset >> 1) & 0x3ff) << 21) |
    bit(offset, 11, 20) |
    (offset & 0xf_f000);
  return (scattered | (rd << 7) | 0x6f) >>> 0;
}

interface Fixup {
  readonly at: number;
  readonly label: string;
  readonly apply: (offset: number) => number;
}

/** See the head of this file. Offsets are bytes from the image's start. */
export class Assembler {
  readonly base: number;
  readonly #view: DataView;
  readonly #labels = new Map<string, number>();
  readonly #fixups: Fixup[] = [];
  #at = 0;
  #end = 0;

  /** The image begins at guest address `base` and has at most `maxBytes`. */
  constructor(base: number, maxBytes: number) {
    this.base = base;
    this.#view = new DataView(new ArrayBuffer(maxBytes));
  }

  /** The guest address of what comes next. */
  get here(): number {
    return this.base + this.#at;
  }

  /** Goes on at byte `offset` of the image. */
  org(offset: number): void {
    this.#at = offset;
  }

  /** Goes on at the next multiple of `alignment`. */
  align(alignment: number): void {
    this.#at = Math.ceil(this.#at / alignment) * alignment;
  }

  label(name: string): void {
    assert(!this.#labels.has(name), `label ${name} is bound once`);
    this.#labels.set(name, this.here);
  }

  address(name: string): number {
    const address = this.#labels.get(name);
    assert(address !== undefined, `there is no label ${name}`);
    return address;
  }

  /** The image with all references filled in, up to the last byte emitted. */
  finish(): Uint8Array {
    for (const { at, label, apply } of this.#fixups) {
      this.#put32(at, apply(this.address(label) - (this.base + at)));
    }
    return new Uint8Array(this.#view.buffer, 0, this.#end);
  }

  // ---- data and raw instructions

  half(value: number): void {
    this.#view.setUint16(this.#at, value, true);
    this.#advance(2);
  }
  word(value: number): void {
    this.#put32(this.#at, value);
    this.#advance(4);
  }
  double(value: bigint): void {
    this.word(Number(BigInt.asUintN(32, value)));
    this.word(Number(BigInt.asUintN(32, value >> 32n)));
  }
  bytes(bytes: Uint8Array): void {
    new Uint8Array(this.#view.buffer).set(bytes, this.#at);
    this.#advance(bytes.length);
  }
  plain(name: keyof typeof WORDS): void {
    this.word(WORDS[name]);
  }

  // ---- instructions

  r(name: RName, rd: number, rs1: number, rs2: number): void {
    this.word(encodeR(name, rd, rs1, rs2));
  }
  i(name: LoadName | "jalr", rd: number, rs1: number, imm: number): void {
    this.word(encodeI(name, rd, rs1, imm));
  }
  store(name: StoreName, source: number, base: number, imm: number): void {
    const [opcode, funct3] = S_FORM[name];
    const split = (((imm >> 5) & 127) << 25) | ((imm & 31) << 7);
    this.word((split | (source << 20) | (base << 15) | (funct3 << 12) | opcode) >>> 0);
  }
  branch(name: keyof typeof B_FORM, rs1: number, rs2: number, label: string): void {
    this.#refer(label, (offset) => encodeB(name, rs1, rs2, offset));
  }
  jal(rd: number, label: string): void {
    this.#refer(label, (offset) => encodeJ(rd, offset));
  }
  csr(name: keyof typeof CSR_FORM, rd: number, csr: keyof typeof CSR, operand: number): void {
    this.word(
      ((CSR[csr] << 20) | (operand << 15) | (CSR_FORM[name] << 12) | (rd << 7) | 0x73) >>> 0,
    );
  }
  /** cbo.zero on the block that holds the address in `rs1`. */
  zeroBlock(rs1: number): void {
    this.word(((4 << 20) | (rs1 << 15) | (2 << 12) | 0x0f) >>> 0);
  }

  /** c.addi: rd += imm, -32 .. 31. */
  cAddi(rd: number, imm: number): void {
    this.half(0x0001 | bit(imm, 5, 12) | (rd << 7) | ((imm & 31) << 2));
  }
  cNop(): void {
    this.half(0x0001);
  }

  /** rd = any 64-bit value, in at most 13 instructions. */
  li(rd: number, value: bigint | number): void {
    const signed = BigInt.asIntN(64, BigInt(value));
    const low = BigInt.asIntN(12, signed);
    if (low === signed) {
      this.i("addi", rd, REG.zero, Number(low));
      return;
    }
    if (BigInt.asIntN(32, signed) === signed) {
      this.word(
        ((Number(BigInt.asUintN(32, signed - low)) & 0xffff_f000) | (rd << 7) | 0x37) >>> 0,
      );
      this.i("addiw", rd, rd, Number(low));
      return;
    }
    this.li(rd, (signed - low) >> 12n);
    this.i("slli", rd, rd, 12);
    this.i("addi", rd, rd, Number(low));
  }

  /** rd = address of a label bound before, or of the image plus an offset: absolute. */
  la(rd: number, label: string): void {
    const place = this.#at;
    // auipc + addi, relative to here.
    const low = (offset: number): number => (offset << 20) >> 20;
    this.#fixups.push({
      at: place,
      label,
      apply: (offset) => (((offset - low(offset)) & 0xffff_f000) | (rd << 7) | 0x17) >>> 0,
    });
    this.word(0);
    this.#fixups.push({
      at: place + 4,
      label,
      apply: (offset) => encodeI("addi", rd, rd, low(offset + 4)),
    });
    this.word(0);
  }

  #refer(label: string, apply: Fixup["apply"]): void {
    this.#fixups.push({ at: this.#at, label, apply });
    this.word(0);
  }
  #put32(at: number, value: number): void {
    this.#view.setUint16(at, value & 0xffff, true);
    this.#view.setUint16(at + 2, value >>> 16, true);
  }
  #advance(bytes: number): void {
    this.#at += bytes;
    this.#end = Math.max(this.#end, this.#at);
  }
}
