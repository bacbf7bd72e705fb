/**
 * What stands round the units of every program: the prologue, which makes the state of the hart
 * known; the trap handlers, which log and go on; the epilogue, which dumps all registers and stops.
 */
import { assert } from "@dejavm/base";
import type { Assembler, Label } from "./assembler.ts";
import { CSR, MSTATUS } from "./csr.ts";
import { encodeCsr, encodeI, encodeR, encodeS, type Register } from "./encode.ts";
import {
  CLINT_BASE,
  CLINT_MTIMECMP,
  CONTEXT,
  CONTEXT_WORD,
  DUMP,
  DUMP_INSTRET_OFFSET,
  LOG,
  POOL,
  TEST_DEVICE,
  TEST_DEVICE_PASS,
} from "./layout.ts";
import { advanceCursor, type Scene } from "./scene.ts";
import { integerValue } from "./values.ts";

const VECTORS = 16;
const FLOAT_LOAD = { opcode: 0x07, funct3: 3 };
const FLOAT_STORE = { opcode: 0x27, funct3: 3 };
const STORE_WORD = { opcode: 0x23, funct3: 2 };
const AND = { opcode: 0x33, funct3: 7, funct7: 0 };

/** CSRs set to a known value at the start: those that a reset leaves as they were, too. */
const INITIAL_CSRS: readonly (readonly [number, bigint])[] = [
  [CSR.mie, 0n],
  [CSR.mip, 0n],
  [CSR.medeleg, 0n],
  [CSR.mideleg, 0n],
  [CSR.satp, 0n],
  [CSR.mcounteren, 0n],
  [CSR.scounteren, 0n],
  [CSR.menvcfg, 0n],
  [CSR.senvcfg, 0n],
  [CSR.mcountinhibit, 0n],
  [CSR.mscratch, 0n],
  [CSR.sscratch, 0n],
  [CSR.sepc, 0n],
  [CSR.scause, 0n],
  [CSR.stval, 0n],
  [CSR.mepc, 0n],
  [CSR.mcause, 0n],
  [CSR.mtval, 0n],
  [CSR.pmpaddr0, 0x3f_ffff_ffff_ffffn],
  [CSR.pmpcfg0, 0x1fn],
  [CSR.stimecmp, -1n],
  [CSR.fcsr, 0n],
];

/** CSRs read into the final dump, in this order. */
export const DUMPED_CSRS: readonly number[] = [
  CSR.mstatus,
  CSR.sstatus,
  CSR.misa,
  CSR.medeleg,
  CSR.mideleg,
  CSR.mie,
  CSR.mip,
  CSR.sie,
  CSR.sip,
  CSR.mcounteren,
  CSR.scounteren,
  CSR.menvcfg,
  CSR.senvcfg,
  CSR.mscratch,
  CSR.sscratch,
  CSR.mepc,
  CSR.sepc,
  CSR.mcause,
  CSR.scause,
  CSR.mtval,
  CSR.stval,
  CSR.satp,
  CSR.fcsr,
  CSR.mcountinhibit,
  CSR.stimecmp,
  CSR.pmpcfg0,
  CSR.pmpaddr0,
  CSR.mhartid,
  CSR.mvendorid,
  CSR.mimpid,
  CSR.mconfigptr,
];
/** Offsets within the dump page. */
export const DUMP_FLOAT_OFFSET = 256;
export const DUMP_CSR_OFFSET = 512;

function storeWord(asm: Assembler, rs2: Register, rs1: Register): void {
  asm.word(encodeS(STORE_WORD, rs1, rs2, 0), `sw x${rs2}, 0(x${rs1})`);
}

/** Everything the units count on. Leaves random values in the registers that they may use. */
export function emitPrologue(scene: Scene, labels: FrameLabels, passes: number): void {
  const { asm, context, recovery, prng } = scene;
  const [value, pointer] = [8, 9];
  asm.load(context, BigInt(CONTEXT));
  asm.load(recovery, 0n);
  asm.address(value, labels.machineHandler);
  asm.csrWrite(CSR.mtvec, value);
  asm.address(value, labels.supervisorHandler);
  asm.csrWrite(CSR.stvec, value);
  asm.load(value, MSTATUS.FS);
  asm.csrWrite(CSR.mstatus, value);
  for (const [number, initial] of INITIAL_CSRS) {
    asm.load(value, initial);
    asm.csrWrite(number, value);
  }
  asm.load(pointer, BigInt(CLINT_MTIMECMP));
  asm.load(value, -1n);
  asm.storeDouble(value, pointer, 0);
  asm.load(pointer, BigInt(CLINT_BASE));
  storeWord(asm, 0, pointer);
  asm.load(value, BigInt(LOG));
  asm.storeDouble(value, context, CONTEXT_WORD.cursor);
  asm.load(value, BigInt(passes));
  asm.storeDouble(value, context, CONTEXT_WORD.passes);
  asm.load(pointer, BigInt(POOL));
  for (let register = 0; register < 32; register++) {
    const offset = 8 * prng.below(256);
    asm.word(encodeI(FLOAT_LOAD, register, pointer, offset), `fld f${register}, ${offset}`);
  }
  for (let register = 1; register < 32; register++) {
    if (register !== context && register !== recovery) asm.load(register, integerValue(prng));
  }
}

export interface FrameLabels {
  readonly machineHandler: Label;
  readonly supervisorHandler: Label;
  readonly vectors: Label;
}

const SAVED = 3;

function saveAndLog(
  scene: Scene,
  temps: readonly [Register, Register, Register],
  { saveAt, csrs }: { readonly saveAt: number; readonly csrs: readonly number[] },
): void {
  const { asm, context, recovery } = scene;
  const [entry, value] = temps;
  assert(csrs.length <= 7, "a log entry holds seven CSRs and the recovery address");
  for (const [index, register] of temps.entries()) {
    asm.storeDouble(register, context, saveAt + 8 * index);
  }
  asm.loadDouble(entry, context, CONTEXT_WORD.cursor);
  for (const [index, number] of csrs.entries()) {
    asm.csrRead(value, number);
    asm.storeDouble(value, entry, 8 * index);
  }
  asm.storeDouble(recovery, entry, 56);
  advanceCursor(asm, { entry, other: value, context });
}

function restore(scene: Scene, temps: readonly Register[], saveAt: number): void {
  for (const [index, register] of temps.entries()) {
    scene.asm.loadDouble(register, scene.context, saveAt + 8 * index);
  }
}

function handlerRegisters(scene: Scene): readonly [Register, Register, Register] {
  const free = [5, 6, 7, 8, 9, 10].filter((r) => r !== scene.context && r !== scene.recovery);
  assert(free.length >= SAVED, "there are registers for the handlers");
  return [free[0] ?? 0, free[1] ?? 0, free[2] ?? 0];
}

/** Counts a trap against the unit's budget: value = what is left. */
function spendBudget(scene: Scene, value: Register): void {
  const { asm, context } = scene;
  asm.loadDouble(value, context, CONTEXT_WORD.budget);
  asm.addImmediate(value, value, -1);
  asm.storeDouble(value, context, CONTEXT_WORD.budget);
}

/**
 * Logs; then goes on at the recovery address in the mode that trapped. It goes to the unit's
 * escape in M-mode instead when the code at hand cannot go on: the budget is spent, an
 * instruction fetch failed outside M-mode, or a body called with recovery 0. An interrupt is
 * answered by disabling all.
 */
function emitMachineHandler(scene: Scene): void {
  const { asm, context, recovery } = scene;
  const temps = handlerRegisters(scene);
  const [cause, value, other] = temps;
  const [escape, resume, leave] = [asm.label(), asm.label(), asm.label()];
  const interrupt = asm.label();
  saveAndLog(scene, temps, {
    saveAt: CONTEXT_WORD.machineSave,
    csrs: [CSR.mcause, CSR.mepc, CSR.mtval, CSR.mstatus, CSR.mip, CSR.mscratch],
  });
  asm.load(value, MSTATUS.MPRV);
  asm.csr("c", 0, CSR.mstatus, value);
  spendBudget(scene, value);
  asm.csrRead(cause, CSR.mcause);
  asm.branch(4, value, 0, escape, "blt");
  asm.branch(4, cause, 0, interrupt, "blt");
  asm.csrRead(value, CSR.mstatus);
  asm.load(other, MSTATUS.MPP);
  asm.word(encodeR(AND, value, value, other), `and x${value}, x${value}, x${other}`);
  asm.branch(0, value, other, resume, "beq");
  asm.branch(0, recovery, 0, escape, "beq");
  for (const fetchFault of [1, 12]) {
    asm.load(value, BigInt(fetchFault));
    asm.branch(0, cause, value, escape, "beq");
  }
  asm.bind(resume);
  asm.csrWrite(CSR.mepc, recovery);
  asm.bind(leave);
  restore(scene, temps, CONTEXT_WORD.machineSave);
  asm.machineReturn();
  asm.bind(interrupt);
  asm.csrWrite(CSR.mie, 0);
  asm.jump(0, leave);
  asm.bind(escape);
  asm.loadDouble(value, context, CONTEXT_WORD.escape);
  asm.csrWrite(CSR.mepc, value);
  asm.load(value, MSTATUS.MPP);
  asm.csr("s", 0, CSR.mstatus, value);
  asm.jump(0, leave);
}

/** As the M-mode handler; what cannot go on calls M-mode. */
function emitSupervisorHandler(scene: Scene): void {
  const { asm, recovery } = scene;
  const temps = handlerRegisters(scene);
  const [cause, value] = temps;
  const [giveUp, leave, interrupt] = [asm.label(), asm.label(), asm.label()];
  saveAndLog(scene, temps, {
    saveAt: CONTEXT_WORD.supervisorSave,
    csrs: [CSR.scause, CSR.sepc, CSR.stval, CSR.sstatus, CSR.sip],
  });
  spendBudget(scene, value);
  asm.csrRead(cause, CSR.scause);
  asm.branch(4, value, 0, giveUp, "blt");
  asm.branch(4, cause, 0, interrupt, "blt");
  asm.branch(0, recovery, 0, giveUp, "beq");
  for (const fetchFault of [1, 12]) {
    asm.load(value, BigInt(fetchFault));
    asm.branch(0, cause, value, giveUp, "beq");
  }
  asm.csrWrite(CSR.sepc, recovery);
  asm.bind(leave);
  restore(scene, temps, CONTEXT_WORD.supervisorSave);
  asm.supervisorReturn();
  asm.bind(interrupt);
  asm.csrWrite(CSR.sie, 0);
  asm.jump(0, leave);
  asm.bind(giveUp);
  asm.load(recovery, 0n);
  restore(scene, temps, CONTEXT_WORD.supervisorSave);
  asm.ecall();
}

/** The trap handlers, and a vector table whose entries leave their number in mscratch. */
export function emitHandlers(scene: Scene, labels: FrameLabels): void {
  const { asm } = scene;
  asm.align(64);
  asm.bind(labels.machineHandler);
  emitMachineHandler(scene);
  asm.align(64);
  asm.bind(labels.supervisorHandler);
  emitSupervisorHandler(scene);
  asm.align(64);
  asm.bind(labels.vectors);
  const stubs = Array.from({ length: VECTORS }, () => asm.label());
  for (const stub of stubs) asm.jump(0, stub);
  for (const [index, stub] of stubs.entries()) {
    asm.bind(stub);
    asm.word(encodeCsr(5, 0, index, CSR.mscratch), `csrwi mscratch, ${index}`);
    asm.jump(0, labels.machineHandler);
  }
}

/** Dumps everything that can be read, then stops the machine. */
export function emitEpilogue(scene: Scene): void {
  const { asm, context, recovery } = scene;
  assert(DUMP - CONTEXT === 4096, "the dump follows the context page");
  asm.addImmediate(recovery, context, 2047);
  asm.addImmediate(recovery, recovery, 2047);
  asm.addImmediate(recovery, recovery, 2);
  for (let register = 0; register < 32; register++) {
    asm.storeDouble(register, recovery, 8 * register);
  }
  const value = 8;
  for (const [index, number] of DUMPED_CSRS.entries()) {
    asm.csrRead(value, number);
    asm.storeDouble(value, recovery, DUMP_CSR_OFFSET + 8 * index);
  }
  asm.load(value, MSTATUS.FS);
  asm.csr("s", 0, CSR.mstatus, value);
  for (let register = 0; register < 32; register++) {
    const offset = DUMP_FLOAT_OFFSET + 8 * register;
    const word = encodeS(FLOAT_STORE, recovery, register, offset);
    asm.word(word, `fsd f${register}, ${offset}(x${recovery})`);
  }
  asm.addImmediate(recovery, recovery, 2047);
  asm.csrRead(value, CSR.minstret);
  asm.storeDouble(value, recovery, DUMP_INSTRET_OFFSET - 2047);
  asm.load(recovery, BigInt(TEST_DEVICE));
  asm.load(value, BigInt(TEST_DEVICE_PASS));
  storeWord(asm, value, recovery);
  const stop = asm.label();
  asm.bind(stop);
  asm.jump(0, stop);
}
