/**
 * Random bare programs for a hart in M-mode, as flat images that fill the whole test region.
 *
 * A program is a list of units. Each unit has its own seed, so dropping some leaves the others as
 * they were: that is what makes a failing program small (see minimise.ts).
 */
import { Prng } from "@dejavm/base";
import { buildAddressSpaces } from "./address-space.ts";
import { Assembler, type Line } from "./assembler.ts";
import { emitEpilogue, emitHandlers, emitPrologue, type FrameLabels } from "./frame.ts";
import {
  BODIES,
  BODY_PAGES,
  CODE_BYTES,
  CONTEXT_WORD,
  DATA,
  DATA_PAGES,
  PAGE_BYTES,
  POOL,
  POOL_ENTRIES,
  REGION_BASE,
  REGION_BYTES,
} from "./layout.ts";
import { observe, type Scene, scratch, weighted } from "./scene.ts";
import { floatStatusUnit, floatUnit } from "./units/float.ts";
import {
  compressedUnit,
  integerUnit,
  jumpTableUnit,
  loopUnit,
  randomWordUnit,
} from "./units/integer.ts";
import {
  amoUnit,
  compressedMemoryUnit,
  memoryUnit,
  randomAccessUnit,
  reservationUnit,
  zeroBlockUnit,
} from "./units/memory.ts";
import { bodyUnit, mprvUnit, pageTableUnit } from "./units/modes.ts";
import {
  counterUnit,
  csrUnit,
  fenceUnit,
  illegalCsrUnit,
  interruptUnit,
  selfModifyingUnit,
  trapUnit,
  vectorCsrUnit,
} from "./units/system.ts";
import { doubleValue, singleValue } from "./values.ts";

interface UnitKind {
  readonly weight: number;
  readonly emit: (scene: Scene) => void;
}

const KINDS = {
  integer: { weight: 12, emit: integerUnit },
  compressed: { weight: 6, emit: compressedUnit },
  randomWord: { weight: 6, emit: randomWordUnit },
  loop: { weight: 6, emit: loopUnit },
  jumpTable: { weight: 3, emit: jumpTableUnit },
  memory: { weight: 8, emit: memoryUnit },
  compressedMemory: { weight: 4, emit: compressedMemoryUnit },
  randomAccess: { weight: 2, emit: randomAccessUnit },
  amo: { weight: 5, emit: amoUnit },
  reservation: { weight: 3, emit: reservationUnit },
  zeroBlock: { weight: 1, emit: zeroBlockUnit },
  float: { weight: 20, emit: floatUnit },
  floatStatus: { weight: 2, emit: floatStatusUnit },
  csr: { weight: 5, emit: csrUnit },
  vectorCsr: { weight: 1, emit: vectorCsrUnit },
  illegalCsr: { weight: 2, emit: illegalCsrUnit },
  trap: { weight: 4, emit: trapUnit },
  interrupt: { weight: 4, emit: interruptUnit },
  counter: { weight: 2, emit: counterUnit },
  selfModifying: { weight: 2, emit: selfModifyingUnit },
  fence: { weight: 1, emit: fenceUnit },
  mprv: { weight: 4, emit: mprvUnit },
  pageTable: { weight: 4, emit: pageTableUnit },
  body: { weight: 14, emit: bodyUnit },
} satisfies Record<string, UnitKind>;

export type UnitName = keyof typeof KINDS;

export const UNIT_NAMES: readonly string[] = Object.keys(KINDS);

export interface UnitPlan {
  readonly name: UnitName;
  readonly seed: number;
}

/** A recipe: equal plans give equal programs. */
export interface ProgramPlan {
  readonly seed: number;
  /** How often all units run. */
  readonly passes: number;
  readonly units: readonly UnitPlan[];
}

export interface Program {
  readonly plan: ProgramPlan;
  /** REGION_BYTES long, to be loaded and started at REGION_BASE. */
  readonly image: Uint8Array;
  /** What the units emitted, for reports: M-mode code, then bodies. */
  readonly lines: readonly Line[];
}

const DEFAULT_PASSES = 4;
const DEFAULT_UNITS = 60;
/** Traps a unit may take before its handlers give up on it. */
const TRAP_BUDGET = 40n;
/** Room left in the code area for the epilogue and one more unit. */
const CODE_MARGIN_BYTES = 12_000;

/** Chooses the units of program number `seed`; `only` restricts it to some kinds. */
export function planProgram(seed: number, only?: readonly UnitName[]): ProgramPlan {
  const prng = new Prng(seed);
  const names = Object.entries(KINDS)
    .map(([name, { weight }]) => [weight, name as UnitName] as const)
    .filter(([, name]) => only === undefined || only.includes(name));
  const units = Array.from({ length: DEFAULT_UNITS }, () => ({
    name: weighted(prng, names),
    seed: prng.u32(),
  }));
  return { seed, passes: DEFAULT_PASSES, units };
}

function chooseReserved(prng: Prng): { context: number; recovery: number } {
  // Outside x8..x15, which compressed instructions name, and x1 and x2.
  const candidates = [
    3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31,
  ];
  const context = prng.pick(candidates);
  const recovery = prng.pick(candidates.filter((register) => register !== context));
  return { context, recovery };
}

function fillData(image: Uint8Array, prng: Prng): void {
  const data = image.subarray(DATA - REGION_BASE, DATA - REGION_BASE + DATA_PAGES * PAGE_BYTES);
  prng.fill(data);
  const pool = new DataView(image.buffer, image.byteOffset + POOL - REGION_BASE, PAGE_BYTES);
  for (let index = 0; index < POOL_ENTRIES; index++) {
    const value = index < POOL_ENTRIES / 2 ? doubleValue(prng) : singleValue(prng);
    pool.setBigUint64(8 * index, value, true);
  }
}

/** One unit: arms the way out, emits, and shows a few registers. */
function emitUnit(scene: Scene, unit: UnitPlan): void {
  const inside: Scene = { ...scene, prng: new Prng(unit.seed) };
  const { asm, context } = inside;
  const end = asm.label();
  const value = scratch(inside);
  asm.address(value, end);
  asm.storeDouble(value, context, CONTEXT_WORD.escape);
  asm.load(value, TRAP_BUDGET);
  asm.storeDouble(value, context, CONTEXT_WORD.budget);
  KINDS[unit.name].emit(inside);
  asm.bind(end);
  observe(inside);
}

/** Assembles `plan`. */
export function buildProgram(plan: ProgramPlan): Program {
  const prng = new Prng(plan.seed ^ 0x5eed);
  const image = new Uint8Array(REGION_BYTES);
  fillData(image, prng);
  const spaces = buildAddressSpaces(image, prng);
  const asm = new Assembler(REGION_BASE, image.subarray(0, CODE_BYTES));
  const bodyOffset = BODIES - REGION_BASE;
  const bodies = new Assembler(
    BODIES,
    image.subarray(bodyOffset, bodyOffset + BODY_PAGES * PAGE_BYTES),
  );
  const labels: FrameLabels = {
    machineHandler: asm.label(),
    supervisorHandler: asm.label(),
    vectors: asm.label(),
  };
  const scene: Scene = { prng, asm, bodies, spaces, ...labels, ...chooseReserved(prng) };
  emitPrologue(scene, labels, plan.passes);
  const prologueLines = asm.lines.length;
  const [again, last] = [asm.label(), asm.label()];
  asm.bind(again);
  for (const unit of plan.units) {
    if (asm.roomBytes < CODE_MARGIN_BYTES) break;
    asm.heading(`${unit.name} (${unit.seed})`);
    bodies.heading(`${unit.name} (${unit.seed})`);
    emitUnit(scene, unit);
  }
  const lines = asm.lines.slice(prologueLines);
  const value = scratch(scene);
  asm.loadDouble(value, scene.context, CONTEXT_WORD.passes);
  asm.addImmediate(value, value, -1);
  asm.storeDouble(value, scene.context, CONTEXT_WORD.passes);
  asm.branch(0, value, 0, last, "beq");
  asm.jump(0, again);
  asm.bind(last);
  emitEpilogue(scene);
  emitHandlers(scene, labels);
  asm.finish();
  bodies.finish();
  return { plan, image, lines: [...lines, ...bodies.lines] };
}
