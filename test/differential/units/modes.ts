/** S- and U-mode: bodies that run there, M-mode accesses through MPRV, changed page tables. */
import {
  type AddressSpace,
  entry,
  nonCanonicalAddress,
  randomLeafFlags,
} from "../address-space.ts";
import { CSR, ENVCFG_CBZE, MENVCFG_ADUE, MSTATUS } from "../csr.ts";
import type { Register } from "../encode.ts";
import { BODIES, CONTEXT_WORD, PAGE_BYTES, VOID_ADDRESSES } from "../layout.ts";
import { anyTarget, guarded, observe, type Scene, scratch, times, weighted } from "../scene.ts";
import { integerValue } from "../values.ts";
import { emitFloat } from "./float.ts";
import { emitCompressed, emitForwardBranch, emitInteger, emitRandomWord } from "./integer.ts";
import { dataAddress, emitAccess, emitLoad } from "./memory.ts";
import { emitTrap, raiseInterrupt } from "./system.ts";

const USER = 0n;
const SUPERVISOR = 1n;
/** In no space anything lies in this gigapage. */
const UNMAPPED = 0xffff_ffe4_0000_0000n;
/** How much room a body needs at most. */
const BODY_LIMIT_BYTES = 1400;

interface DataTarget {
  readonly address: bigint;
  readonly loadOnly: boolean;
  readonly loadBeforeAmo: boolean;
}

/** Where a data access of a body or through MPRV goes: a mapping, good or bad. */
function dataTarget(scene: Scene, space: AddressSpace | undefined): DataTarget {
  const { prng } = scene;
  const free = { loadOnly: false, loadBeforeAmo: false };
  if (space === undefined) return { ...free, address: BigInt(dataAddress(scene)) };
  if (prng.oneIn(16)) return { ...free, address: nonCanonicalAddress(prng) };
  const mapping = prng.pick(space.data);
  const anywhere = prng.oneIn(4) ? PAGE_BYTES - 1 - prng.below(8) : prng.below(PAGE_BYTES);
  const offset = prng.oneIn(2) ? anywhere & ~7 : anywhere;
  return {
    address: (mapping.virtualAddress & ~0xfffn) + BigInt(offset),
    loadOnly: mapping.beforeVoid && offset > PAGE_BYTES - 8,
    loadBeforeAmo: !mapping.hopeless,
  };
}

function accessOf(scene: Scene, target: DataTarget): (base: Register) => void {
  const { loadOnly, loadBeforeAmo } = target;
  return (base) => (loadOnly ? emitLoad(scene, base, 0) : emitAccess(scene, base, loadBeforeAmo));
}

function emitDataAccess(scene: Scene, space: AddressSpace | undefined): void {
  const base = scratch(scene);
  const target = dataTarget(scene, space);
  scene.asm.load(base, target.address);
  guarded(scene, () => accessOf(scene, target)(base));
}

/** CSRs that a body may try, with the bits it may set; most are illegal in U-mode. */
const BODY_CSRS: readonly (readonly [number, bigint])[] = [
  [CSR.sscratch, -1n],
  [CSR.scause, 0x1fn],
  [CSR.stval, -1n],
  [CSR.sepc, -2n],
  [CSR.scounteren, 7n],
  [CSR.sip, 0x2n],
  [CSR.senvcfg, ENVCFG_CBZE | 1n],
  [CSR.stimecmp, 0n],
  [CSR.sstatus, MSTATUS.SUM | MSTATUS.MXR | MSTATUS.SPIE | MSTATUS.SPP],
  [CSR.mscratch, 0n],
  [CSR.mstatus, 0n],
  [CSR.fcsr, 0x1fn],
  [CSR.frm, 3n],
];
/** Read only, and into x0: their values depend on time, whether they can be read does not. */
const BODY_COUNTERS = [CSR.cycle, CSR.time, CSR.instret];

function emitBodyCsr(scene: Scene, raises: boolean): void {
  const { prng, asm } = scene;
  if (prng.oneIn(4)) {
    guarded(scene, () => asm.csrRead(0, prng.pick(BODY_COUNTERS)));
    return;
  }
  if (prng.oneIn(6)) {
    guarded(scene, () => asm.csrRead(anyTarget(scene), CSR.satp));
    return;
  }
  const [number, mask] = prng.pick(BODY_CSRS);
  if (number === CSR.sip && !raises) return;
  const value = scratch(scene);
  asm.load(value, integerValue(prng) & mask);
  // A plain read of mstatus or stimecmp writes nothing.
  const source = mask === 0n ? 0 : value;
  const operation = mask === 0n ? "s" : prng.pick(["w", "s", "c"] as const);
  guarded(scene, () => asm.csr(operation, anyTarget(scene), number, source));
}

/** sret to the next step, to whichever mode SPP says. */
function emitSupervisorReturn(scene: Scene): void {
  const { prng, asm } = scene;
  const target = scratch(scene);
  const status = scratch(scene, target);
  const next = asm.label();
  guarded(scene, () => {
    asm.address(target, next);
    asm.csrWrite(CSR.sepc, target);
    asm.load(status, MSTATUS.SPP);
    if (!prng.oneIn(3)) asm.csr("s", 0, CSR.sstatus, status);
    asm.supervisorReturn();
    asm.bind(next);
  });
}

function emitFetchFault(scene: Scene, space: AddressSpace | undefined): void {
  const { prng, asm } = scene;
  const base = scratch(scene);
  const canonical = prng.oneIn(2) ? UNMAPPED : nonCanonicalAddress(prng);
  asm.load(base, space === undefined ? (VOID_ADDRESSES[1] ?? 0n) : canonical);
  guarded(scene, () => asm.indirectJump(anyTarget(scene), base));
}

interface BodyPlan {
  readonly mode: bigint;
  readonly space: AddressSpace | undefined;
  /** wfi traps for sure. */
  readonly timeoutWait: boolean;
  /** The body may raise a software interrupt; else another one is pending already. */
  readonly raises: boolean;
}

/** Not at or across the end of a page: there QEMU 10 reports a wrong mepc for a wfi that traps. */
function emitTrappingWait(scene: Scene): void {
  const { asm } = scene;
  if ((asm.here + 8) % PAGE_BYTES >= PAGE_BYTES - 4) asm.fenceI();
  guarded(scene, () => asm.word(0x1050_0073, "wfi"));
}

function emitBodyStep(scene: Scene, { mode, space, timeoutWait, raises }: BodyPlan): void {
  const { prng, asm } = scene;
  const action = weighted(prng, [
    [4, () => times(1 + prng.below(4), () => emitInteger(scene))],
    [10, () => emitDataAccess(scene, space)],
    [3, () => emitBodyCsr(scene, raises)],
    [2, () => emitTrap(scene)],
    [1, () => emitRandomWord(scene)],
    [1, () => emitCompressed(scene)],
    [1, () => emitForwardBranch(scene)],
    [1, () => emitFloat(scene)],
    [1, () => emitFetchFault(scene, space)],
    [1, () => guarded(scene, () => asm.sfence(prng.oneIn(2) ? 0 : scratch(scene)))],
    [1, () => guarded(scene, () => asm.machineReturn())],
    [1, () => asm.fenceI()],
    [mode === SUPERVISOR ? 2 : 1, () => emitSupervisorReturn(scene)],
    [timeoutWait ? 2 : 0, () => emitTrappingWait(scene)],
  ] as const);
  action();
}

/** Writes a body; returns its offset from the start of the bodies. */
function emitBody(scene: Scene, plan: BodyPlan): number {
  const { prng, bodies } = scene;
  const inside: Scene = { ...scene, asm: bodies };
  // Now and then near a page's end, so that instructions cross it.
  if (prng.oneIn(3)) {
    const skip = PAGE_BYTES - (bodies.here % PAGE_BYTES) - 2 * prng.below(40) - 2;
    if (skip > 0 && skip + BODY_LIMIT_BYTES < bodies.roomBytes) bodies.skip(skip);
  }
  const offset = bodies.here - BODIES;
  times(3 + prng.below(6), () => emitBodyStep(inside, plan));
  bodies.load(scene.recovery, 0n);
  bodies.ecall();
  bodies.half(0, "c.unimp");
  return offset;
}

function entryAddress(scene: Scene, plan: BodyPlan, offset: number): bigint {
  const { prng } = scene;
  const { mode, space } = plan;
  const physical = BigInt(BODIES + offset);
  if (space === undefined) return physical;
  const bases =
    mode === USER
      ? [space.userBodies, space.userBodies, space.userBodies, space.userBodies]
      : [space.supervisorBodies, space.supervisorBodies, BigInt(BODIES)];
  const odd = prng.oneIn(10);
  const wrong = prng.oneIn(30) ? [space.userBodies, space.supervisorBodies] : bases;
  return prng.pick(odd ? [space.oddBodies] : wrong) + BigInt(offset);
}

/** mstatus fields that a mode switch chooses; the rest stays. */
function emitStatus(scene: Scene, mode: bigint, bits: bigint): void {
  const { asm } = scene;
  const value = scratch(scene);
  const chosen =
    MSTATUS.MPP |
    MSTATUS.SUM |
    MSTATUS.MXR |
    MSTATUS.TVM |
    MSTATUS.TW |
    MSTATUS.TSR |
    MSTATUS.SIE |
    MSTATUS.SPIE |
    MSTATUS.SPP;
  asm.load(value, chosen);
  asm.csr("c", 0, CSR.mstatus, value);
  asm.load(value, (bits & chosen & ~MSTATUS.MPP) | (mode << 11n) | MSTATUS.FS);
  asm.csr("s", 0, CSR.mstatus, value);
}

function writeCsr(scene: Scene, number: number, value: bigint): void {
  const register = scratch(scene);
  scene.asm.load(register, value);
  scene.asm.csrWrite(number, register);
}

/** A body in S- or U-mode, with or without Sv39, under random delegation and permissions. */
export function bodyUnit(scene: Scene): void {
  const { prng, asm, bodies } = scene;
  if (bodies.roomBytes < 2 * BODY_LIMIT_BYTES) return;
  const mode = prng.oneIn(2) ? USER : SUPERVISOR;
  const space = prng.oneIn(5) ? undefined : prng.pick(scene.spaces);
  const bits = prng.u64() & prng.u64();
  // One at a time: QEMU takes the lowest number first, the manual has another order.
  const interrupted = prng.oneIn(4);
  // Under TSR a body that began in U-mode may go on in S-mode, where wfi would wait for ever.
  const staysUser = mode === USER && (bits & MSTATUS.TSR) === 0n;
  const timeoutWait = staysUser || (bits & MSTATUS.TW) !== 0n;
  const plan = { mode, space, timeoutWait, raises: !interrupted };
  const offset = emitBody(scene, plan);
  writeCsr(scene, CSR.satp, space?.satp ?? 0n);
  writeCsr(scene, CSR.medeleg, prng.oneIn(3) ? 0n : prng.u64() & 0xb1ffn);
  writeCsr(scene, CSR.mcounteren, prng.u64() & 7n);
  writeCsr(scene, CSR.scounteren, prng.u64() & 7n);
  writeCsr(scene, CSR.menvcfg, prng.u64() & (MENVCFG_ADUE | ENVCFG_CBZE));
  writeCsr(scene, CSR.senvcfg, prng.u64() & ENVCFG_CBZE);
  emitStatus(scene, mode, bits);
  let lower = (): void => undefined;
  if (interrupted) {
    writeCsr(scene, CSR.mideleg, prng.u64() & 0x222n);
    lower = raiseInterrupt(scene);
    writeCsr(scene, CSR.mie, prng.u64() | 0x20n);
  }
  writeCsr(scene, CSR.mepc, entryAddress(scene, plan, offset));
  const end = asm.label();
  asm.address(scene.recovery, end);
  const escape = scratch(scene);
  asm.address(escape, end);
  asm.storeDouble(escape, scene.context, CONTEXT_WORD.escape);
  asm.machineReturn();
  asm.bind(end);
  asm.csrWrite(CSR.mie, 0);
  lower();
  asm.csrWrite(CSR.mip, 0);
  writeCsr(scene, CSR.satp, 0n);
  emitStatus(scene, 3n, 0n);
}

/** Accesses from M-mode with the rights of another mode. */
function emitThroughMprv(scene: Scene, access: (base: Register) => void, target: bigint): void {
  const { prng, asm } = scene;
  const base = scratch(scene);
  const status = scratch(scene, base);
  const mode = prng.pick([USER, SUPERVISOR, SUPERVISOR]);
  const bits = prng.u64() & (MSTATUS.SUM | MSTATUS.MXR);
  emitStatus(scene, mode, bits);
  asm.load(base, target);
  asm.load(status, MSTATUS.MPRV);
  guarded(scene, () => {
    asm.csr("s", 0, CSR.mstatus, status);
    access(base);
  });
  // `status` may be what the access has loaded over.
  asm.load(status, MSTATUS.MPRV);
  asm.csr("c", 0, CSR.mstatus, status);
}

export function mprvUnit(scene: Scene): void {
  const { prng } = scene;
  const space = prng.pick(scene.spaces);
  writeCsr(scene, CSR.satp, space.satp);
  writeCsr(scene, CSR.menvcfg, prng.u64() & MENVCFG_ADUE);
  times(1 + prng.below(4), () => {
    const target = dataTarget(scene, space);
    emitThroughMprv(scene, accessOf(scene, target), target.address);
  });
  writeCsr(scene, CSR.satp, 0n);
}

/** A leaf entry changes, is fenced, and is used. */
export function pageTableUnit(scene: Scene): void {
  const { prng, asm } = scene;
  const space = prng.pick(scene.spaces);
  writeCsr(scene, CSR.satp, space.satp);
  writeCsr(scene, CSR.menvcfg, prng.u64() & MENVCFG_ADUE);
  const mapping = prng.pick(space.data);
  const use = () => {
    const offset = BigInt(prng.below(PAGE_BYTES - 16));
    const access = (base: Register) =>
      prng.oneIn(3) ? emitLoad(scene, base, 0) : emitAccess(scene, base, true);
    emitThroughMprv(scene, access, (mapping.virtualAddress & ~0xfffn) + offset);
  };
  if (prng.oneIn(2)) use();
  const pointer = scratch(scene);
  const value = scratch(scene, pointer);
  asm.load(pointer, BigInt(mapping.entryAddress));
  asm.loadDouble(value, pointer, 0);
  observe(scene, value, pointer);
  asm.load(value, entry(mapping.pageNumber, randomLeafFlags(prng)));
  asm.storeDouble(value, pointer, 0);
  asm.load(value, mapping.virtualAddress);
  asm.sfence(prng.oneIn(2) ? 0 : value);
  use();
  asm.load(pointer, BigInt(mapping.entryAddress));
  asm.loadDouble(value, pointer, 0);
  observe(scene, value);
  writeCsr(scene, CSR.satp, 0n);
}
