/** Integer computation, branches, compressed instructions and random words that only compute. */
import { encodeI, encodeR, encodeU, type Register } from "../encode.ts";
import { CONTEXT_WORD } from "../layout.ts";
import {
  BRANCHES,
  IMMEDIATE_OPERATIONS,
  REGISTER_OPERATIONS,
  SHIFT_OPERATIONS,
  UNARY_OPERATIONS,
} from "../operations.ts";
import { anyTarget, guarded, isReserved, type Scene, scratch, times, weighted } from "../scene.ts";
import { integerValue } from "../values.ts";

/** One instruction that computes `rd` from registers; `encode` chooses the format. */
export function integerWord(scene: Scene, rd: Register): { word: number; text: string } {
  const { prng } = scene;
  const [rs1, rs2] = [prng.below(32), prng.below(32)];
  const format = weighted(prng, [
    [10, "register"],
    [3, "shift"],
    [3, "immediate"],
    [2, "unary"],
    [1, "upper"],
  ] as const);
  switch (format) {
    case "register": {
      const form = prng.pick(REGISTER_OPERATIONS);
      return { word: encodeR(form, rd, rs1, rs2), text: `${form.name} x${rd}, x${rs1}, x${rs2}` };
    }
    case "shift": {
      const form = prng.pick(SHIFT_OPERATIONS);
      const amount = prng.below(form.amounts);
      const word = encodeI(form, rd, rs1, form.high | amount);
      return { word, text: `${form.name} x${rd}, x${rs1}, ${amount}` };
    }
    case "immediate": {
      const form = prng.pick(IMMEDIATE_OPERATIONS);
      const immediate = prng.below(4096) - 2048;
      const word = encodeI(form, rd, rs1, immediate);
      return { word, text: `${form.name} x${rd}, x${rs1}, ${immediate}` };
    }
    case "unary": {
      const form = prng.pick(UNARY_OPERATIONS);
      return {
        word: encodeI(form, rd, rs1, form.immediate),
        text: `${form.name} x${rd}, x${rs1}`,
      };
    }
    case "upper": {
      const [name, opcode] = prng.oneIn(2) ? (["lui", 0x37] as const) : (["auipc", 0x17] as const);
      const upper = prng.below(1 << 20);
      return { word: encodeU(opcode, rd, upper), text: `${name} x${rd}, 0x${upper.toString(16)}` };
    }
  }
}

export function emitInteger(scene: Scene): void {
  const { word, text } = integerWord(scene, anyTarget(scene));
  scene.asm.word(word, text);
}

/** Quadrant and funct3 of compressed instructions that only compute. */
const COMPRESSED_COMPUTING: readonly (readonly [number, number])[] = [
  [0, 0],
  [1, 0],
  [1, 1],
  [1, 2],
  [1, 3],
  [1, 4],
  [2, 0],
  [2, 4],
];

function writesReserved(scene: Scene, half: number): boolean {
  const [quadrant, funct3] = [half & 3, half >> 13];
  if (quadrant === 0) return isReserved(scene, 8 + ((half >> 2) & 7));
  if (quadrant === 1 && funct3 === 4) return isReserved(scene, 8 + ((half >> 7) & 7));
  return isReserved(scene, (half >> 7) & 31);
}

/** c.jr, c.jalr and c.ebreak share their funct3 with c.mv and c.add. */
function jumps(half: number): boolean {
  return (half & 3) === 2 && half >> 13 === 4 && ((half >> 2) & 31) === 0;
}

/** Any compressed word of the computing groups, reserved encodings among them. */
export function emitCompressed(scene: Scene): void {
  const { prng, asm } = scene;
  for (;;) {
    const [quadrant, funct3] = prng.pick(COMPRESSED_COMPUTING);
    const half = (prng.below(0x2000) & 0x1ffc) | quadrant | (funct3 << 13);
    if (writesReserved(scene, half) || jumps(half)) continue;
    guarded(scene, () => asm.half(half, `# compressed ${quadrant}/${funct3}`));
    return;
  }
}

/** Opcodes whose instructions do nothing but write rd. */
const COMPUTING_OPCODES = [0x13, 0x1b, 0x33, 0x3b, 0x53, 0x43, 0x47, 0x4b, 0x4f];
/** Opcodes that RV64GC leaves unused: custom, vector, reserved, longer instructions. */
const UNUSED_OPCODES = [0x0b, 0x2b, 0x5b, 0x7b, 0x57, 0x77, 0x6b, 0x1f, 0x3f, 0x5f, 0x7f];

function randomWord(scene: Scene): number {
  const { prng } = scene;
  const bits = prng.u32() & 0xffff_f07f;
  const rd = anyTarget(scene) << 7;
  switch (prng.below(8)) {
    case 0:
      return ((bits & ~0x7f) | rd | prng.pick(UNUSED_OPCODES)) >>> 0;
    case 1:
      return prng.pick([0, 0xffff_ffff, 0x0000_1073 | rd, 0xc000_1073]) >>> 0;
    case 2:
      // MISC-MEM: fences of every kind are legal, the rest is not, except cbo.zero.
      return ((bits & ~0x707f) | rd | 0x0f | prng.pick([0, 0x1000, 0x3000, 0x5000])) >>> 0;
    case 3:
      // SYSTEM with funct3 4: hypervisor loads and stores, which the machine lacks.
      return ((bits & ~0x707f) | rd | 0x4073) >>> 0;
    case 4:
      // A few reserved bits of a valid instruction turned over.
      return (integerWord(scene, rd >> 7).word ^ (1 << (25 + prng.below(7)))) >>> 0;
    default:
      return ((bits & ~0x7f) | rd | prng.pick(COMPUTING_OPCODES)) >>> 0;
  }
}

/** One random word that is legal or not, but surely harmless. */
export function emitRandomWord(scene: Scene): void {
  const word = randomWord(scene);
  guarded(scene, () => scene.asm.word(word, `.word 0x${word.toString(16)}`));
}

/** A forward branch or jump over a few instructions. */
export function emitForwardBranch(scene: Scene): void {
  const { asm, prng } = scene;
  const label = asm.label();
  const link = anyTarget(scene);
  switch (prng.below(6)) {
    case 0:
      asm.jump(link, label);
      break;
    case 1: {
      const register = scratch(scene);
      asm.address(register, label);
      // Bit 0 of a jalr target is cleared.
      if (prng.oneIn(3)) asm.addImmediate(register, register, 1);
      if (prng.oneIn(2)) asm.indirectJump(link, register);
      else asm.half(0x8002 | (prng.below(2) << 12) | (register << 7), `c.jr/c.jalr x${register}`);
      break;
    }
    case 2:
      asm.compressedJump(label);
      break;
    case 3:
      asm.compressedBranch(prng.oneIn(2) ? 6 : 7, 8 + prng.below(8), label);
      break;
    default: {
      const [name, funct3] = prng.pick(BRANCHES);
      asm.branch(funct3, prng.below(32), prng.below(32), label, name);
    }
  }
  times(prng.below(5), () => emitInteger(scene));
  asm.bind(label);
}

export function integerUnit(scene: Scene): void {
  const { prng, asm } = scene;
  times(2, () => asm.load(scratch(scene), integerValue(prng)));
  times(6 + prng.below(14), () => {
    if (prng.oneIn(6)) emitForwardBranch(scene);
    else emitInteger(scene);
  });
}

export function compressedUnit(scene: Scene): void {
  times(4 + scene.prng.below(8), () => {
    if (scene.prng.oneIn(4)) emitInteger(scene);
    else emitCompressed(scene);
  });
}

export function randomWordUnit(scene: Scene): void {
  times(3 + scene.prng.below(6), () => emitRandomWord(scene));
}

/** A bounded loop whose counter lies in memory, so that its body may use any register. */
export function loopUnit(scene: Scene): void {
  const { asm, prng, context } = scene;
  const first = scratch(scene);
  asm.load(first, BigInt(2 + prng.below(12)));
  asm.storeDouble(first, context, CONTEXT_WORD.rounds);
  const again = asm.label();
  asm.bind(again);
  times(3 + prng.below(10), () => {
    if (prng.oneIn(5)) emitForwardBranch(scene);
    else emitInteger(scene);
  });
  const counter = scratch(scene);
  asm.loadDouble(counter, context, CONTEXT_WORD.rounds);
  asm.addImmediate(counter, counter, -1);
  asm.storeDouble(counter, context, CONTEXT_WORD.rounds);
  asm.branch(1, counter, 0, again, "bne");
}

const ADD = { opcode: 0x33, funct3: 0, funct7: 0 };
const AND_IMMEDIATE = { opcode: 0x13, funct3: 7 };
const SHIFT_LEFT_IMMEDIATE = { opcode: 0x13, funct3: 1 };
/** Of the bytes of a jump. */
const JUMP_SHIFT = 2;

/** A loop that goes to some places in turn by a computed jump into a row of jumps. */
export function jumpTableUnit(scene: Scene): void {
  const { asm, prng, context } = scene;
  const places = Array.from({ length: 2 << prng.below(3) }, () => asm.label());
  const [again, table, join] = [asm.label(), asm.label(), asm.label()];
  const first = scratch(scene);
  asm.load(first, BigInt(places.length + prng.below(24)));
  asm.storeDouble(first, context, CONTEXT_WORD.rounds);
  asm.bind(again);
  const place = scratch(scene);
  const entry = scratch(scene, place);
  asm.loadDouble(place, context, CONTEXT_WORD.rounds);
  asm.word(encodeI(AND_IMMEDIATE, place, place, places.length - 1), `andi x${place}, ...`);
  asm.word(encodeI(SHIFT_LEFT_IMMEDIATE, place, place, JUMP_SHIFT), `slli x${place}, ...`);
  asm.address(entry, table);
  asm.word(encodeR(ADD, entry, entry, place), `add x${entry}, x${entry}, x${place}`);
  // Bit 0 of a jalr target is cleared.
  if (prng.oneIn(3)) asm.addImmediate(entry, entry, 1);
  asm.indirectJump(0, entry);
  asm.bind(table);
  for (const label of places) asm.jump(0, label);
  for (const label of places) {
    asm.bind(label);
    times(prng.below(4), () => emitInteger(scene));
    asm.jump(0, join);
  }
  asm.bind(join);
  emitInteger(scene);
  const counter = scratch(scene);
  asm.loadDouble(counter, context, CONTEXT_WORD.rounds);
  asm.addImmediate(counter, counter, -1);
  asm.storeDouble(counter, context, CONTEXT_WORD.rounds);
  asm.branch(1, counter, 0, again, "bne");
}
