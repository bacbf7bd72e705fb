/**
 * Interpreter opcodes. One instruction becomes several: what is known when it is decoded (its
 * length, that it writes x0, that its target lies in the same page, its rounding mode) picks a
 * variant, so that handlers need not look.
 */
import { assert } from "@dejavm/base";
import type { Instruction, RoundingField } from "../isa/instruction.ts";
import { INSTRUCTIONS } from "../isa/table.ts";

/** Opcodes that are not instructions. */
export const OP = {
  /** Zero-filled records: not decoded yet. */
  undecoded: 0,
  /** After the last halfword of a page. */
  pageEnd: 1,
  /** Put over a record to stop before it. */
  stop: 2,
  /** A four-byte instruction of which only the first half lies in this page. */
  cross: 3,
  illegal: 4,
  /** Instructions without effect, four and two bytes long. */
  nop4: 5,
  nop2: 6,
  /** Perhaps a breakpoint: it is one where the virtual address is right, too. */
  breakpoint: 7,
  /** A translated region begins here; what it stands in front of is in AUX.op. */
  region: 8,
} as const;
const FIRST_VARIANT = 9;

/** What is known about one use of an instruction. */
export interface Variant {
  readonly instruction: Instruction;
  readonly length: 2 | 4;
  /** rd is x0, and the instruction has other effects. */
  readonly discard: boolean;
  /** The target of a branch or jump lies in the same page. */
  readonly near: boolean;
  readonly rm: RoundingField;
}

const ROUNDING_FIELDS: readonly RoundingField[] = [0, 1, 2, 3, 4, 7];

function variantsOf(instruction: Instruction): Variant[] {
  const { operands, pure, format, rounds, compressed } = instruction;
  const lengths: readonly (2 | 4)[] = compressed ? [4, 2] : [4];
  const discards = operands.rd === "x" && !pure ? [false, true] : [false];
  const nears = format === "B" || format === "J" ? [true, false] : [false];
  const rms = rounds ? ROUNDING_FIELDS : ([7] as const);
  return lengths.flatMap((length) =>
    discards.flatMap((discard) =>
      nears.flatMap((near) => rms.map((rm) => ({ instruction, length, discard, near, rm }))),
    ),
  );
}

/** Every variant; the opcode of `VARIANTS[i]` is `FIRST_VARIANT + i`. */
export const VARIANTS: readonly Variant[] = INSTRUCTIONS.flatMap(variantsOf);

type VariantKey = Omit<Variant, "instruction">;

const keyOf = ({ length, discard, near, rm }: VariantKey): number =>
  (length === 2 ? 1 : 0) | (discard ? 2 : 0) | (near ? 4 : 0) | (rm << 3);

const OPS = new Map<Instruction, number[]>();
for (const [index, variant] of VARIANTS.entries()) {
  const ops = OPS.get(variant.instruction) ?? [];
  ops[keyOf(variant)] = FIRST_VARIANT + index;
  OPS.set(variant.instruction, ops);
}

/** The opcode of a variant, which must exist. */
export function variantOp(instruction: Instruction, key: VariantKey): number {
  const op = OPS.get(instruction)?.[keyOf(key)];
  assert(op !== undefined, `no variant of ${instruction.name}`);
  return op;
}

/** What a variant is called: the instruction and what is known about it, `bne/2/near`. */
function variantName({ instruction, length, discard, near, rm }: Variant): string {
  const known = [
    length === 2 ? "/2" : "",
    discard ? "/x0" : "",
    near ? "/near" : "",
    instruction.rounds ? `/rm${rm}` : "",
  ];
  return instruction.name + known.join("");
}

const BY_NAME = new Map(VARIANTS.map((variant) => [variantName(variant), variant]));

/** The variant with this name, which must exist. */
export function variantByName(name: string): Variant {
  const variant = BY_NAME.get(name);
  assert(variant !== undefined, `no variant is called ${name}`);
  return variant;
}

/** Number of opcodes, special ones included, before fused pairs. */
export const SINGLE_OPS = FIRST_VARIANT + VARIANTS.length;

/** The opcode of a variant. */
export const opcodeOf = (variant: Variant): number => FIRST_VARIANT + VARIANTS.indexOf(variant);
