/**
 * How the interpreter finds the handler of an opcode: by one indirect jump, or by conditional
 * branches that tell opcodes apart, the frequent ones first. Where the processor predicts indirect
 * jumps the former is faster; where it does not (some mitigations switch that off) each of them
 * costs some 25 cycles, and branches, which it goes on predicting, half of that.
 */
import { assert } from "@dejavm/base";
import { type I32, i32, ltS, sub } from "../wasm/expr.ts";
import type { Fn, Label } from "../wasm/module.ts";
import { emitBranchTree } from "./branch-tree.ts";
import { FUSED_PAIRS } from "./pairs.ts";
import { OP, opcodeOf, SINGLE_OPS, variantByName } from "./variants.ts";

/** See the head of this file. The guest cannot tell. */
export type Dispatch = "table" | "branches";

/**
 * Opcodes of 10,000 that were executed: counted while Debian booted, and over a shell loop, 200
 * processes, redis under load, python3 and sqlite3 with the default policy of translation, each
 * with the same weight. Names are those of pairs.ts and of OP.
 */
const FREQUENCIES = `
  416 ld/2 ld/2
  345 ld/2
  333 sd/2 sd/2
  284 nop4
  244 ld
  240 addi
  235 beq/2/near
  222 beq/near
  202 region
  200 add/2
  196 addi/2
  195 addi/2 jalr/2/x0
  187 lw
  170 lw/2
  162 auipc jalr
  160 add/2 add/2
  157 bne/near
  145 sd/2
  142 bne/2/near
  140 sd sd
  132 andi
  125 sw
  120 slli
  118 addi/2 sd/2
  117 jal
  115 add/2 ld/2
  99 lui
  95 jal/2/x0/near
  95 blt/near
  95 addiw/2
  94 addiw
  90 sd/2 addi/2
  89 lui/2
  85 lbu
  82 slli/2
  79 add/2 beq/near
  78 sd
  76 bltu/near
  72 auipc addi
  71 sw/2
  71 andi/2
  64 bge/near
  63 auipc
  63 jalr/2/x0
  63 bgeu/near
  62 srli
  62 ld ld
  60 sb
  60 addi/2 add/2
  55 or/2
  55 add/2 beq/2/near
  54 sub
  53 addi/2 bne/near
  52 add
  52 ld/2 add/2
  51 or
  50 lhu
  48 and
  47 srliw
  47 addi/2 beq/near
  47 addi add/2
  44 slli/2 add/2
  43 slliw
  41 srli/2
  40 ld/2 addi/2
  39 nop2
  39 addi beq/near
  39 auipc ld
  38 addi/2 addi/2
  37 sd/2 add/2
  34 add/2 addi/2
  33 beq
  33 lwu
  33 sub/2
  33 add/2 ld
  32 addw
  31 addi/2 bne/2/near
  30 slli add/2
  30 addi/2 ld/2
  29 andi/2 bne/2/near
  28 jalr/2
  28 addi/2 beq/2/near
  27 and/2
  27 add/2 addi
  26 sh
  25 ld add/2
  24 ld ld/2
  23 bne
  23 subw
  23 addi/2 bgeu/near
  23 addi addi
  22 add/2 bltu/near
  22 add/2 bne/near
  22 addi/2 bltu/near
  22 ld/2 sd/2
  21 jal/x0/near
  21 srliw slliw
  21 add/2 lw/2
  21 ld/2 ld
  21 add/2 slli/2
  21 addi/2 jal/2/x0/near
  21 lw lw
  21 addi bne/near
  20 slli srli/2
  20 sd addi/2
  19 sltu
  19 xor
  19 add/2 bgeu/near
  19 ld addi/2
  19 ld xor/2
  18 cbo.zero
  18 sd/2 ld/2
  18 add/2 add
  17 xor/2
  17 srl
  17 lbu lbu
  17 lbu addi/2
  17 slli srli
  17 add/2 jal/2/x0/near
  16 lb
  16 add/2 sd
  16 or or
  15 jal/near
  15 jal/x0
  15 xori
  15 sll
  15 mul
  15 addi/2 sd
  15 addi/2 slli/2
  15 addi slli/2
  14 slli/2 srli/2
  14 addw addw
  14 add/2 bge/near
  13 addw/2
  13 ld/2 addiw/2
  13 lw addi/2
  13 ld sd
  12 subw/2
  12 lbu bne/2/near
  12 add lbu
  12 ld sd/2
  12 sd addi
  12 srli slli
  11 sltiu
  11 ori
  11 add/2 addiw/2
  11 xor xor
  11 lbu addi
  11 sd ld
  11 lbu beq/2/near
  10 add/2 slli
  10 addi/2 auipc
  9 pageEnd
  9 jalr
  9 sraiw
  9 add/2 lbu
  9 sd bne/near
  9 lw/2 addi/2
  8 csrrs/x0
  8 sd add/2
  8 addi/2 lbu
  8 lbu beq/near
  8 slli/2 addi/2
  8 andi/2 bne/near
  8 or slli/2
  7 jal/2/x0
  7 srai/2
  7 slt
  7 amoadd.w
  7 csrrci
  7 ld sub
  7 srli slli/2
  7 slli slli
  6 bne/2
  6 blt
  6 srai
  6 srli add/2
  6 addiw/2 addi/2
  6 add ld/2
  6 slliw or
  6 xor addw
  6 or xor
  6 xor/2 srli
  6 addiw bgeu/near
  6 slli or/2
  6 add/2 or
  6 addi/2 sb
  6 xor srli
  5 cross
  5 beq/2
  5 bgeu
  5 lr.d
  5 sc.d
  5 add/2 sub
  5 andi add/2
  5 addi auipc
  5 addiw/2 bltu/near
  5 addiw/2 beq/near
  5 addi/2 slli
  5 srli andi
`;

/** What opcodes that are not named there have together is next to nothing; each has so much. */
const RARE = 0.05;
/** Opcodes that are together as rare as this, of 10,000, are told apart by a table. */
const TABLE_BELOW = 5;

/** The opcode of a variant, of a pair of them, or with a name of its own. */
function named([first = "", second]: readonly string[]): number {
  const own = (OP as Readonly<Record<string, number>>)[first];
  if (own !== undefined) return own;
  const variant = variantByName(first);
  if (second === undefined) return opcodeOf(variant);
  const follower = variantByName(second);
  const pair = FUSED_PAIRS.findIndex((each) => each.first === variant && each.second === follower);
  assert(pair >= 0, `${first} ${second} is no pair`);
  return SINGLE_OPS + pair;
}

/** Frequencies by opcode. */
function weights(count: number): readonly number[] {
  const all = Array.from({ length: count }, () => RARE);
  for (const line of FREQUENCIES.trim().split("\n")) {
    const [frequency = "", ...names] = line.trim().split(" ");
    all[named(names)] = Number(frequency);
  }
  return all;
}

/** Emits the way to `labels[op]`; `none` is where opcodes without a label would go. */
export function emitDispatch(
  f: Fn,
  how: Dispatch,
  {
    op,
    labels,
    none,
  }: { readonly op: I32; readonly labels: readonly Label[]; readonly none: Label },
): void {
  if (how === "table") return f.brTable(op, labels, none);
  emitBranchTree(f, {
    weights: weights(labels.length),
    isBefore: (middle) => ltS(op, i32(middle)),
    leaf: (from, to, weight) => {
      const [only] = labels.slice(from, to);
      if (to - from === 1 && only !== undefined) f.br(only);
      else if (weight < TABLE_BELOW) {
        f.brTable(sub(op, i32(from)), labels.slice(from, to), none);
      } else return false;
      return true;
    },
  });
}
