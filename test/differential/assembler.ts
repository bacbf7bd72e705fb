/**
 * A small assembler: emits words, resolves labels, keeps a listing. Code is position-independent
 * wherever it refers to a label, so a body may run at another address than it was assembled for.
 */
import { assert } from "@dejavm/base";
import { csrName } from "./csr.ts";
import {
  encodeB,
  encodeCompressedBranch,
  encodeCompressedJump,
  encodeCsr,
  encodeI,
  encodeJ,
  encodeR,
  encodeS,
  encodeU,
  type Register,
} from "./encode.ts";

/** A place in the code, known once it is bound. */
export interface Label {
  address: number | undefined;
}

/** One emitted instruction, for reports. */
export interface Line {
  readonly address: number;
  /** 0: not an instruction but a heading. */
  readonly sizeBytes: 0 | 2 | 4;
  readonly text: string;
}

interface Fixup {
  readonly address: number;
  readonly label: Label;
  readonly apply: (offset: number) => void;
}

const LOAD_DOUBLE = { opcode: 0x03, funct3: 3 };
const STORE_DOUBLE = { opcode: 0x23, funct3: 3 };
const ADD_IMMEDIATE = { opcode: 0x13, funct3: 0 };
const ADD_IMMEDIATE_WORD = { opcode: 0x1b, funct3: 0 };
const SHIFT_LEFT = { opcode: 0x13, funct3: 1 };

export class Assembler {
  readonly base: number;
  readonly lines: Line[] = [];
  readonly #bytes: DataView;
  readonly #fixups: Fixup[] = [];
  #offset = 0;

  /** Emits into `bytes`, whose first byte has the address `base`. */
  constructor(base: number, bytes: Uint8Array) {
    this.base = base;
    this.#bytes = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  get here(): number {
    return this.base + this.#offset;
  }

  get roomBytes(): number {
    return this.#bytes.byteLength - this.#offset;
  }

  word(value: number, text: string): void {
    this.lines.push({ address: this.here, sizeBytes: 4, text });
    this.#bytes.setUint16(this.#offset, value & 0xffff, true);
    this.#bytes.setUint16(this.#offset + 2, value >>> 16, true);
    this.#offset += 4;
  }

  half(value: number, text: string): void {
    this.lines.push({ address: this.here, sizeBytes: 2, text });
    this.#bytes.setUint16(this.#offset, value, true);
    this.#offset += 2;
  }

  /** A line of the listing that is no instruction. */
  heading(text: string): void {
    this.lines.push({ address: this.here, sizeBytes: 0, text });
  }

  /** Skips to a multiple of `alignment`, leaving zeros (illegal instructions) behind. */
  align(alignment: number): void {
    while (this.here % alignment !== 0) this.#offset += 2;
  }

  /** Leaves `sizeBytes`, an even number, of zeros. */
  skip(sizeBytes: number): void {
    this.#offset += sizeBytes;
  }

  label(): Label {
    return { address: undefined };
  }

  bind(label: Label): void {
    assert(label.address === undefined, "a label is bound once");
    label.address = this.here;
  }

  /** Fills in every reference; each label used must be bound by now. */
  finish(): void {
    for (const { address, label, apply } of this.#fixups) {
      assert(label.address !== undefined, "every label used is bound");
      apply(label.address - address);
    }
    this.#fixups.length = 0;
  }

  branch(funct3: number, rs1: Register, rs2: Register, label: Label, name: string): void {
    const place = this.#offset;
    this.#refer(label, (offset) => {
      assert(offset >= -4096 && offset < 4096, "a branch target is within 4 KiB");
      this.#patchWord(place, encodeB(funct3, rs1, rs2, offset));
    });
    this.word(0, `${name} x${rs1}, x${rs2}, ->`);
  }

  jump(rd: Register, label: Label): void {
    const place = this.#offset;
    this.#refer(label, (offset) => this.#patchWord(place, encodeJ(rd, offset)));
    this.word(0, `jal x${rd}, ->`);
  }

  compressedJump(label: Label): void {
    const place = this.#offset;
    this.#refer(label, (offset) => {
      this.#bytes.setUint16(place, encodeCompressedJump(offset), true);
    });
    this.half(0, "c.j ->");
  }

  /** `c.beqz` (6) or `c.bnez` (7); the target lies within 256 bytes. */
  compressedBranch(funct3: 6 | 7, rs1: Register, label: Label): void {
    const place = this.#offset;
    this.#refer(label, (offset) => {
      assert(offset >= -256 && offset < 256, "a compressed branch target is within 256 bytes");
      this.#bytes.setUint16(place, encodeCompressedBranch(funct3, rs1, offset), true);
    });
    this.half(0, `c.b${funct3 === 6 ? "eqz" : "nez"} x${rs1}, ->`);
  }

  /** rd = address of `label`, relative to pc. Always 8 bytes. */
  address(rd: Register, label: Label): void {
    const place = this.#offset;
    this.#refer(label, (offset) => {
      const low = (offset << 20) >> 20;
      this.#patchWord(place, encodeU(0x17, rd, (offset - low) >> 12));
      this.#patchWord(place + 4, encodeI(ADD_IMMEDIATE, rd, rd, low));
    });
    this.word(0, `auipc x${rd}, ->`);
    this.word(0, `addi x${rd}, x${rd}, ->`);
  }

  /** rd = value, by the usual lui/addi/slli sequences. */
  load(rd: Register, value: bigint): void {
    const signed = BigInt.asIntN(64, value);
    const low = BigInt.asIntN(12, signed);
    if (signed === low) {
      this.word(encodeI(ADD_IMMEDIATE, rd, 0, Number(low)), `addi x${rd}, x0, ${low}`);
      return;
    }
    if (signed === BigInt.asIntN(32, signed)) {
      const upper = Number(((signed - low) >> 12n) & 0xfffffn);
      this.word(encodeU(0x37, rd, upper), `lui x${rd}, 0x${upper.toString(16)}`);
      this.word(encodeI(ADD_IMMEDIATE_WORD, rd, rd, Number(low)), `addiw x${rd}, x${rd}, ${low}`);
      return;
    }
    let rest = BigInt.asIntN(64, signed - low) >> 12n;
    let shift = 12;
    while ((rest & 1n) === 0n) {
      rest >>= 1n;
      shift++;
    }
    this.load(rd, rest);
    this.word(encodeI(SHIFT_LEFT, rd, rd, shift), `slli x${rd}, x${rd}, ${shift}`);
    if (low !== 0n) {
      this.word(encodeI(ADD_IMMEDIATE, rd, rd, Number(low)), `addi x${rd}, x${rd}, ${low}`);
    }
  }

  addImmediate(rd: Register, rs1: Register, immediate: number): void {
    this.word(encodeI(ADD_IMMEDIATE, rd, rs1, immediate), `addi x${rd}, x${rs1}, ${immediate}`);
  }

  loadDouble(rd: Register, rs1: Register, offset: number): void {
    this.word(encodeI(LOAD_DOUBLE, rd, rs1, offset), `ld x${rd}, ${offset}(x${rs1})`);
  }

  storeDouble(rs2: Register, rs1: Register, offset: number): void {
    this.word(encodeS(STORE_DOUBLE, rs1, rs2, offset), `sd x${rs2}, ${offset}(x${rs1})`);
  }

  /** `operation`: "w", "s" or "c". */
  csr(operation: "w" | "s" | "c", rd: Register, csrNumber: number, rs1: Register): void {
    const funct3 = { w: 1, s: 2, c: 3 }[operation];
    const text = `csrr${operation} x${rd}, ${csrName(csrNumber)}, x${rs1}`;
    this.word(encodeCsr(funct3, rd, rs1, csrNumber), text);
  }

  csrRead(rd: Register, csrNumber: number): void {
    this.csr("s", rd, csrNumber, 0);
  }

  csrWrite(csrNumber: number, rs1: Register): void {
    this.csr("w", 0, csrNumber, rs1);
  }

  indirectJump(rd: Register, rs1: Register): void {
    this.word(encodeI({ opcode: 0x67, funct3: 0 }, rd, rs1, 0), `jalr x${rd}, 0(x${rs1})`);
  }

  fence(): void {
    this.word(0x0ff0000f, "fence");
  }

  fenceI(): void {
    this.word(0x0000100f, "fence.i");
  }

  sfence(rs1: Register): void {
    const form = { opcode: 0x73, funct3: 0, funct7: 0x09 };
    this.word(encodeR(form, 0, rs1, 0), `sfence.vma x${rs1}, x0`);
  }

  ecall(): void {
    this.word(0x00000073, "ecall");
  }

  machineReturn(): void {
    this.word(0x30200073, "mret");
  }

  supervisorReturn(): void {
    this.word(0x10200073, "sret");
  }

  #refer(label: Label, apply: (offset: number) => void): void {
    this.#fixups.push({ address: this.here, label, apply });
  }

  #patchWord(offset: number, word: number): void {
    this.#bytes.setUint16(offset, word & 0xffff, true);
    this.#bytes.setUint16(offset + 2, word >>> 16, true);
  }
}
