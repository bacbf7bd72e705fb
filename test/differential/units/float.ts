/** F and D: every operation, rounding mode and special value, with its flags. */
import { CSR, MSTATUS } from "../csr.ts";
import { encodeI, encodeR, encodeS, type Register } from "../encode.ts";
import { POOL } from "../layout.ts";
import { FLOAT_OPERATIONS, type FloatForm, FUSED_OPERATIONS } from "../operations.ts";
import { anyTarget, appendToLog, guarded, type Scene, scratch, times } from "../scene.ts";
import { integerValue } from "../values.ts";

const FLOAT_LOAD = { opcode: 0x07, funct3: 3 };
const FLOAT_STORE = { opcode: 0x27, funct3: 3 };

/** Mostly a valid mode; 5 and 6 are reserved, 7 is the one in frm. */
function roundingMode(scene: Scene): number {
  const { prng } = scene;
  if (prng.oneIn(40)) return 5 + prng.below(2);
  return prng.oneIn(2) ? 7 : prng.below(5);
}

const WRITING_F = FLOAT_OPERATIONS.filter(({ to }) => to === "f");

/**
 * One floating-point instruction on any registers, or on `sources`; returns the f register written.
 * `forms`: what to choose from besides fused operations.
 */
export function emitFloat(
  scene: Scene,
  sources?: readonly Register[],
  forms: readonly FloatForm[] = FLOAT_OPERATIONS,
): Register | undefined {
  const { prng, asm } = scene;
  const source = () => (sources === undefined ? prng.below(32) : prng.pick(sources));
  const mode = roundingMode(scene);
  if (prng.oneIn(5)) {
    const [name, opcode] = prng.pick(FUSED_OPERATIONS);
    const format = prng.below(2);
    const [rd, rs1, rs2, rs3] = [prng.below(32), source(), source(), source()];
    const form = { opcode, funct3: mode, funct7: (rs3 << 2) | format };
    const text = `${name}.${"sd"[format]} f${rd}, f${rs1}, f${rs2}, f${rs3}, rm${mode}`;
    guarded(scene, () => asm.word(encodeR(form, rd, rs1, rs2), text));
    return rd;
  }
  const form = prng.pick(forms);
  const rd = form.to === "x" ? anyTarget(scene) : prng.below(32);
  const rs1 = form.from === "x" ? prng.below(32) : source();
  const rs2 = form.rs2 ?? source();
  const fields = { opcode: 0x53, funct3: form.rounding ?? mode, funct7: form.funct7 };
  const text = `${form.name} ${form.to}${rd}, ${form.from}${rs1}, f${rs2}, rm${fields.funct3}`;
  guarded(scene, () => asm.word(encodeR(fields, rd, rs1, rs2), text));
  return form.to === "f" ? rd : undefined;
}

/** Loads f registers from the pool and returns them; doubles or singles mostly together. */
function loadOperands(scene: Scene): Register[] {
  const { prng, asm } = scene;
  const pointer = scratch(scene);
  const singles = prng.below(2);
  asm.load(pointer, BigInt(POOL + 2048 * singles));
  const registers: Register[] = [];
  times(2 + prng.below(3), () => {
    const register = prng.below(32);
    const offset = prng.oneIn(12) ? -8 * prng.below(200) : 8 * prng.below(256);
    const within = singles === 0 ? Math.abs(offset) : offset;
    const text = `fld f${register}, ${within}(x${pointer})`;
    asm.word(encodeI(FLOAT_LOAD, register, pointer, within), text);
    registers.push(register);
  });
  return registers;
}

function logFloats(scene: Scene, registers: readonly Register[]): void {
  const flags = scratch(scene);
  scene.asm.csrRead(flags, CSR.fcsr);
  appendToLog(
    scene,
    (asm, entry) => {
      asm.storeDouble(flags, entry, 0);
      for (const [index, register] of registers.slice(0, 7).entries()) {
        const word = encodeS(FLOAT_STORE, entry, register, 8 * (index + 1));
        asm.word(word, `fsd f${register}, ${8 * (index + 1)}(x${entry})`);
      }
    },
    flags,
  );
}

/** Operations on special values; flags start empty in most units, so that each can be seen. */
export function floatUnit(scene: Scene): void {
  const { prng, asm } = scene;
  if (!prng.oneIn(4)) asm.csrWrite(CSR.fflags, 0);
  const rounding = scratch(scene);
  asm.load(rounding, BigInt(prng.oneIn(12) ? prng.below(8) : prng.below(5)));
  asm.csrWrite(CSR.frm, rounding);
  if (prng.oneIn(2)) asm.load(scratch(scene), integerValue(prng));
  const sources = loadOperands(scene);
  const written: Register[] = [];
  times(2 + prng.below(5), () => {
    const rd = emitFloat(scene, prng.oneIn(6) ? undefined : sources);
    if (rd !== undefined) written.push(rd);
    if (prng.oneIn(3)) logFloats(scene, written.splice(0));
  });
  logFloats(scene, [...written, ...sources]);
}

/**
 * mstatus.FS: off traps, and what is written makes it dirty. Only instructions that write an f
 * register: QEMU does not see that one that raises flags alone makes the state dirty, too.
 */
export function floatStatusUnit(scene: Scene): void {
  const { prng, asm } = scene;
  const mask = scratch(scene);
  const status = scratch(scene, mask);
  asm.load(mask, MSTATUS.FS);
  asm.csr("c", 0, CSR.mstatus, mask);
  const state = prng.below(4);
  if (state > 0) {
    asm.load(status, BigInt(state) << 13n);
    asm.csr("s", 0, CSR.mstatus, status);
  }
  times(1 + prng.below(2), () => {
    if (prng.oneIn(4)) {
      const number = prng.pick([CSR.fcsr, CSR.frm, CSR.fflags]);
      const rd = anyTarget(scene);
      // Not 0: QEMU takes setting and clearing no bits for a read, which leaves FS alone.
      asm.load(status, BigInt(1 + prng.below(255)));
      guarded(scene, () => asm.csr(prng.pick(["w", "s", "c"]), rd, number, status));
    } else if (prng.oneIn(3)) {
      const form = prng.oneIn(2) ? FLOAT_LOAD : { opcode: 0x07, funct3: 2 };
      const register = prng.below(32);
      guarded(scene, () => {
        asm.load(status, BigInt(POOL));
        asm.word(encodeI(form, register, status, 0), `fld/flw f${register}, 0(x${status})`);
      });
    } else emitFloat(scene, undefined, WRITING_F);
  });
  asm.csrRead(status, CSR.mstatus);
  asm.load(mask, MSTATUS.FS);
  asm.csr("s", 0, CSR.mstatus, mask);
  appendToLog(scene, (code, entry) => code.storeDouble(status, entry, 0), status);
}
