/** Loads, stores, AMOs, LR/SC and cbo.zero on the data pages, aligned or not. */
import { encodeAmo, encodeI, encodeS, type Register } from "../encode.ts";
import { DATA, DATA_PAGES, PAGE_BYTES } from "../layout.ts";
import { AMOS, LOAD_RESERVED, LOADS, STORE_CONDITIONAL, STORES } from "../operations.ts";
import { anyTarget, guarded, observe, type Scene, scratch, times, weighted } from "../scene.ts";
import { emitInteger } from "./integer.ts";

const AND_IMMEDIATE = { opcode: 0x13, funct3: 7 };
const DATA_BYTES = DATA_PAGES * PAGE_BYTES;
/** How far an immediate may lead from a base address. */
const REACH = 2048 + 8;

/** A physical data address from which every immediate stays within the data pages. */
export function dataAddress(scene: Scene): number {
  const { prng } = scene;
  const offset = prng.oneIn(3)
    ? PAGE_BYTES * (1 + prng.below(DATA_PAGES - 1)) - prng.below(12)
    : REACH + prng.below(DATA_BYTES - 2 * REACH);
  return DATA + (prng.oneIn(2) ? offset & ~7 : offset);
}

/** A load into any register but `base`. */
export function emitLoad(scene: Scene, base: Register, immediate: number): void {
  const { prng, asm } = scene;
  const form = prng.pick(LOADS);
  const rd = form.float ? prng.below(32) : targetBut(scene, base);
  const register = `${form.float ? "f" : "x"}${rd}`;
  const text = `${form.name} ${register}, ${immediate}(x${base})`;
  asm.word(encodeI(form, rd, base, immediate), text);
}

function emitStore(scene: Scene, base: Register, immediate: number): void {
  const { prng, asm } = scene;
  const form = prng.pick(STORES);
  const rs2 = prng.below(32);
  const register = `${form.float ? "f" : "x"}${rs2}`;
  const text = `${form.name} ${register}, ${immediate}(x${base})`;
  asm.word(encodeS(form, base, rs2, immediate), text);
}

function targetBut(scene: Scene, base: Register): Register {
  for (;;) {
    const register = anyTarget(scene);
    if (register !== base) return register;
  }
}

/**
 * Compressed loads and stores: any word of quadrants 0 and 2 with funct3 1..3 or 5..7, with x2 or
 * `base` (x8..x15) as base register, which is not loaded over.
 */
function emitCompressedAccess(scene: Scene, base: Register): void {
  const { prng, asm } = scene;
  const funct3 = 1 + prng.below(3) + 4 * prng.below(2);
  const integerLoad = funct3 === 2 || funct3 === 3;
  let half: number;
  if (base === 2) {
    const rd = integerLoad ? targetBut(scene, base) : prng.below(32);
    half = (funct3 << 13) | (prng.below(2) << 12) | (prng.below(32) << 2) | 2;
    half = funct3 < 4 ? half | (rd << 7) : half | (prng.below(64) << 7);
  } else {
    const rd = prng.below(8);
    half = (funct3 << 13) | (prng.below(8) << 10) | ((base - 8) << 7) | (prng.below(4) << 5);
    half |= (rd + 8 === base && integerLoad ? (rd + 1) & 7 : rd) << 2;
  }
  guarded(scene, () => asm.half(half, `# compressed access by x${base}, funct3 ${funct3}`));
}

export function memoryUnit(scene: Scene): void {
  const { prng, asm } = scene;
  const base = scratch(scene);
  asm.load(base, BigInt(dataAddress(scene)));
  times(3 + prng.below(6), () => {
    const immediate = prng.oneIn(2) ? prng.below(4096) - 2048 : prng.below(64) - 32;
    if (prng.oneIn(2)) emitLoad(scene, base, immediate);
    else emitStore(scene, base, immediate);
  });
}

export function compressedMemoryUnit(scene: Scene): void {
  const { prng, asm } = scene;
  const base = prng.oneIn(3) ? 2 : 8 + prng.below(8);
  asm.load(base, BigInt(DATA + REACH + prng.below(DATA_BYTES - 2 * REACH)));
  times(3 + prng.below(5), () => emitCompressedAccess(scene, base));
}

const WIDTHS = [2, 3] as const;

function atomic(
  scene: Scene,
  name: string,
  fields: { readonly funct5: number; readonly width: number },
  registers: { readonly rd: Register; readonly base: Register; readonly rs2: Register },
): void {
  const { rd, base, rs2 } = registers;
  const ordering = scene.prng.below(4);
  const word = encodeAmo({ ...fields, ordering }, rd, base, rs2);
  const suffix = fields.width === 2 ? ".w" : ".d";
  scene.asm.word(word, `${name}${suffix} x${rd}, x${rs2}, (x${base})`);
}

/** One AMO at the address in `base`. */
function emitAmo(scene: Scene, base: Register): void {
  const { prng } = scene;
  const [name, funct5] = prng.pick(AMOS);
  const registers = { rd: anyTarget(scene), base, rs2: prng.below(32) };
  atomic(scene, name, { funct5, width: prng.pick(WIDTHS) }, registers);
}

export function amoUnit(scene: Scene): void {
  const { prng, asm } = scene;
  times(2 + prng.below(4), () => {
    const base = scratch(scene);
    const offset = REACH + prng.below(DATA_BYTES - 2 * REACH);
    // Mostly aligned; else it traps.
    const aligned = prng.oneIn(6) ? offset : offset & ~(prng.oneIn(3) ? 3 : 7);
    asm.load(base, BigInt(DATA + aligned));
    guarded(scene, () => emitAmo(scene, base));
  });
}

/**
 * LR and SC as a program may use them: a pair that succeeds; an SC without a reservation; one to
 * another place. Nothing between the two stores to the reserved place.
 */
export function reservationUnit(scene: Scene): void {
  const { prng, asm } = scene;
  const base = scratch(scene);
  const loaded = scratch(scene, base);
  const result = scratch(scene, base, loaded);
  const width = prng.pick(WIDTHS);
  asm.load(base, BigInt(DATA + 8 * prng.below(DATA_BYTES / 8 - 64)));
  const reserve = () =>
    atomic(scene, "lr", { funct5: LOAD_RESERVED, width }, { rd: loaded, base, rs2: 0 });
  const conditional = () => {
    const registers = { rd: result, base, rs2: prng.below(32) };
    atomic(scene, "sc", { funct5: STORE_CONDITIONAL, width }, registers);
  };
  const kind = prng.below(4);
  if (kind !== 0) reserve();
  if (kind === 1) asm.addImmediate(base, base, 8 * (1 + prng.below(40)));
  if (kind === 2) emitIntegerBut(scene, [base, loaded]);
  conditional();
  if (kind === 3) {
    observe(scene, result, loaded);
    conditional();
  }
  observe(scene, result, loaded);
}

/** One integer instruction that leaves `kept` alone. */
function emitIntegerBut(scene: Scene, kept: readonly Register[]): void {
  const rd = scratch(scene, ...kept);
  scene.asm.addImmediate(rd, scene.prng.below(32), scene.prng.below(100));
}

/**
 * cbo.zero at the address in `base`. Where it may trap the address should be that of a block: QEMU
 * reports the block's address in mtval, the manual says rs1's value.
 */
function emitZeroBlock(scene: Scene, base: Register): void {
  scene.asm.word((0x0040_200f | (base << 15)) >>> 0, `cbo.zero (x${base})`);
}

export function zeroBlockUnit(scene: Scene): void {
  const base = scratch(scene);
  scene.asm.load(base, BigInt(DATA + scene.prng.below(DATA_BYTES)));
  emitZeroBlock(scene, base);
  emitInteger(scene);
}

const LOAD_BYTE = { opcode: 0x03, funct3: 0 };

/**
 * One access of any kind at the address in `base`, which may be anywhere. `loadBeforeAmo`: QEMU
 * without parallel harts does an AMO as a load and then a store; so it may set the A bit of a
 * read-only page, or find no memory, before it finds that it may not write. With a plain load in
 * front those steps are taken already.
 */
export function emitAccess(scene: Scene, base: Register, loadBeforeAmo = false): void {
  const { prng, asm } = scene;
  const action = weighted(prng, [
    [8, () => emitLoad(scene, base, 0)],
    [8, () => emitStore(scene, base, 0)],
    [
      3,
      () => {
        if (loadBeforeAmo) asm.word(encodeI(LOAD_BYTE, 0, base, 0), `lb x0, 0(x${base})`);
        emitAmo(scene, base);
      },
    ],
    [
      1,
      () => {
        const block = scratch(scene);
        asm.word(encodeI(AND_IMMEDIATE, block, base, -64), `andi x${block}, x${base}, -64`);
        emitZeroBlock(scene, block);
      },
    ],
  ]);
  action();
}

/** A random width of LOAD, STORE or AMO: legal or not. */
export function randomAccessUnit(scene: Scene): void {
  const { prng, asm } = scene;
  times(2 + prng.below(3), () => {
    const base = scratch(scene);
    asm.load(base, BigInt(dataAddress(scene) & ~7));
    const opcode = prng.pick([0x03, 0x07, 0x23, 0x27, 0x2f]);
    const fields = prng.u32();
    // A lone LR could pair up with an SC of a later unit: see `reservationUnit`.
    if (opcode === 0x2f && fields >>> 27 === LOAD_RESERVED) return;
    // Immediates of LOAD and STORE stay small; STORE keeps its low half in rd's place.
    const high = opcode === 0x2f ? 0xf800_7000 : 0x01f0_7000;
    const rd = targetBut(scene, base) << 7;
    const word = ((fields & high) | rd | (base << 15) | opcode) >>> 0;
    guarded(scene, () => asm.word(word, `.word 0x${word.toString(16)} # by x${base}`));
  });
}
