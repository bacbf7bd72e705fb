/** What every unit sees while it writes itself, and the choices all of them make. */
import type { Prng } from "@dejavm/base";
import type { AddressSpace } from "./address-space.ts";
import type { Assembler, Label } from "./assembler.ts";
import { encodeR, type Register } from "./encode.ts";
import { CONTEXT_WORD, LOG_BYTES, LOG_ENTRY_BYTES } from "./layout.ts";

export interface Scene {
  /** The unit's own random numbers. */
  readonly prng: Prng;
  /** Where instructions go now: the M-mode code, or a body. */
  readonly asm: Assembler;
  /** Code for S- and U-mode. */
  readonly bodies: Assembler;
  /** Always holds the address of the context page; no unit writes it. */
  readonly context: Register;
  /** Where to go on after a trap; 0: leave for M-mode. Written by `guarded` alone. */
  readonly recovery: Register;
  readonly spaces: readonly AddressSpace[];
  /** The M-mode vector table, for units that try vectored interrupts. */
  readonly vectors: Label;
  readonly machineHandler: Label;
}

export function isReserved(scene: Scene, register: Register): boolean {
  return register === scene.context || register === scene.recovery;
}

/** A register that units may write; x0 among them. */
export function anyTarget(scene: Scene): Register {
  for (;;) {
    const register = scene.prng.below(32);
    if (!isReserved(scene, register)) return register;
  }
}

/** A register that units may write, other than x0 and `others`. */
export function scratch(scene: Scene, ...others: readonly Register[]): Register {
  for (;;) {
    const register = anyTarget(scene);
    if (register !== 0 && !others.includes(register)) return register;
  }
}

/** One of `items`, each as likely as its weight says. */
export function weighted<T>(prng: Prng, items: readonly (readonly [number, T])[]): T {
  let rest = prng.below(items.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, item] of items) {
    if (rest < weight) return item;
    rest -= weight;
  }
  throw new RangeError("a weighted choice needs items");
}

export function times(count: number, action: (index: number) => void): void {
  for (let index = 0; index < count; index++) action(index);
}

/** Emits `risky`; a trap in it goes on behind it. */
export function guarded(scene: Scene, risky: () => void): void {
  const { asm } = scene;
  const next = asm.label();
  asm.address(scene.recovery, next);
  risky();
  asm.bind(next);
}

/** Appends an entry to the log: `store` writes its words through the register it is given. */
export function appendToLog(
  scene: Scene,
  store: (asm: Assembler, entry: Register) => void,
  ...used: readonly Register[]
): void {
  const { asm, context } = scene;
  const entry = scratch(scene, ...used);
  const other = scratch(scene, entry, ...used);
  asm.loadDouble(entry, context, CONTEXT_WORD.cursor);
  store(asm, entry);
  advanceCursor(asm, { entry, other, context });
}

const AND = { opcode: 0x33, funct3: 7, funct7: 0 };
const SUB = { opcode: 0x33, funct3: 0, funct7: 0x20 };

/** Moves the log cursor in `entry` on by one entry, round the ring, and stores it. */
export function advanceCursor(
  asm: Assembler,
  {
    entry,
    other,
    context,
  }: { readonly entry: Register; readonly other: Register; readonly context: Register },
): void {
  const stay = asm.label();
  asm.addImmediate(entry, entry, LOG_ENTRY_BYTES);
  asm.load(other, BigInt(LOG_BYTES - 1));
  asm.word(encodeR(AND, other, other, entry), `and x${other}, x${other}, x${entry}`);
  asm.branch(1, other, 0, stay, "bne");
  asm.load(other, BigInt(LOG_BYTES));
  asm.word(encodeR(SUB, entry, entry, other), `sub x${entry}, x${entry}, x${other}`);
  asm.bind(stay);
  asm.storeDouble(entry, context, CONTEXT_WORD.cursor);
}

/** Appends `registers` and a few more to the log. */
export function observe(scene: Scene, ...registers: readonly Register[]): void {
  const shown = [...registers];
  while (shown.length < 5) shown.push(anyTarget(scene));
  appendToLog(
    scene,
    (asm, entry) => {
      for (const [index, register] of shown.entries()) {
        asm.storeDouble(register, entry, 8 * index);
      }
    },
    ...shown,
  );
}
