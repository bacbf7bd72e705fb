/** CSRs, traps from M-mode, interrupts, counters, self-modifying code. */
import {
  CSR,
  csrName,
  ENVCFG_CBZE,
  ENVCFG_FIOM,
  MENVCFG_ADUE,
  MENVCFG_STCE,
  MSTATUS,
} from "../csr.ts";
import { encodeCsr, encodeS } from "../encode.ts";
import { CLINT_BASE, CLINT_MTIMECMP, VOID_ADDRESSES } from "../layout.ts";
import {
  anyTarget,
  guarded,
  isReserved,
  observe,
  type Scene,
  scratch,
  times,
  weighted,
} from "../scene.ts";
import { integerValue } from "../values.ts";
import { emitInteger, integerWord } from "./integer.ts";
import { emitAccess } from "./memory.ts";

const STORE_WORD = { opcode: 0x23, funct3: 2 };
const ALL = (1n << 64n) - 1n;

interface CsrRule {
  readonly number: number;
  /** Bits that a program may set to anything. */
  readonly mask: bigint;
  /** Bits that every csrrw sets. */
  readonly kept?: bigint;
}

const MSTATUS_XL = 0xf_0000_0000n;
/** UXL and SXL for 64 bits. */
const MSTATUS_XL_64 = 0xa_0000_0000n;

/**
 * What may be written at random. Not: MPRV and MBE (they change what M-mode itself sees), traps
 * delegated from S-mode's ecall (the bodies leave by it), hypervisor causes, the counters, UXL and
 * SXL (QEMU can run 32-bit S- and U-mode), the bits of menvcfg and senvcfg for extensions that the
 * machine lacks (QEMU keeps them all the same), counters beyond the three basic ones, bit 0 of mepc
 * and sepc (always 0; QEMU keeps it), STCE (QEMU keeps a software STIP when it is set; here
 * `raiseInterrupt` alone sets it).
 */
const WRITABLE: readonly CsrRule[] = [
  { number: CSR.mstatus, mask: ALL & ~MSTATUS.MPRV & ~MSTATUS_XL, kept: MSTATUS_XL_64 },
  { number: CSR.sstatus, mask: ALL & ~MSTATUS_XL, kept: MSTATUS_XL_64 },
  { number: CSR.medeleg, mask: 0xb1ffn },
  { number: CSR.mideleg, mask: 0x222n },
  { number: CSR.mie, mask: 0xaaan },
  { number: CSR.sie, mask: 0x222n },
  { number: CSR.mip, mask: 0x222n },
  { number: CSR.sip, mask: 0x222n },
  { number: CSR.mscratch, mask: ALL },
  { number: CSR.sscratch, mask: ALL },
  { number: CSR.mepc, mask: ALL & ~1n },
  { number: CSR.sepc, mask: ALL & ~1n },
  { number: CSR.mtval, mask: ALL },
  { number: CSR.stval, mask: ALL },
  { number: CSR.mcause, mask: (1n << 63n) | 0x3fn },
  { number: CSR.scause, mask: (1n << 63n) | 0x3fn },
  { number: CSR.mcounteren, mask: 7n },
  { number: CSR.scounteren, mask: 7n },
  { number: CSR.menvcfg, mask: ENVCFG_FIOM | ENVCFG_CBZE | MENVCFG_ADUE },
  { number: CSR.senvcfg, mask: ENVCFG_FIOM | ENVCFG_CBZE },
  { number: CSR.satp, mask: ALL },
  { number: CSR.misa, mask: ALL },
  { number: CSR.fcsr, mask: ALL },
  { number: CSR.fflags, mask: ALL },
  { number: CSR.frm, mask: ALL },
];

const PENDING_CSRS: readonly number[] = [CSR.mip, CSR.sip];
/** Interrupts that M-mode can make pending by writing mip. */
const SOFTWARE_INTERRUPTS = [1, 5, 9];

/** A valid vector address is a multiple of 4; the low bits choose the mode. */
const VECTOR_CSRS = [CSR.mtvec, CSR.stvec];

/** Puts back what the rest of the program counts on. Uses one register. */
function restoreCsrs(scene: Scene): void {
  const { asm } = scene;
  const value = scratch(scene);
  asm.csrWrite(CSR.satp, 0);
  asm.csrWrite(CSR.menvcfg, 0);
  asm.csrWrite(CSR.mip, 0);
  asm.load(value, MSTATUS.FS);
  asm.csr("s", 0, CSR.mstatus, value);
}

export function csrUnit(scene: Scene): void {
  const { prng, asm } = scene;
  asm.csrWrite(CSR.mie, 0);
  // One at a time: QEMU takes the lowest number first, the manual has another order.
  const pendingBit = 1n << BigInt(prng.pick(SOFTWARE_INTERRUPTS));
  times(1 + prng.below(3), () => {
    const { number, kept = 0n, ...rule } = prng.pick(WRITABLE);
    const mask = PENDING_CSRS.includes(number) ? pendingBit : rule.mask;
    const value = scratch(scene);
    const rd = anyTarget(scene);
    const operation = prng.pick(["w", "s", "c"] as const);
    asm.load(value, (integerValue(prng) & mask) | (operation === "w" ? kept : 0n));
    // frm and FS may make the next floating-point instruction illegal, not this one.
    guarded(scene, () => {
      if (prng.oneIn(4) && mask === ALL) {
        const immediate = prng.below(32);
        const funct3 = { w: 5, s: 6, c: 7 }[operation];
        const text = `csrr${operation}i x${rd}, ${csrName(number)}, ${immediate}`;
        asm.word(encodeCsr(funct3, rd, immediate, number), text);
      } else asm.csr(operation, rd, number, value);
    });
    const seen = scratch(scene);
    guarded(scene, () => asm.csrRead(seen, number));
    observe(scene, seen, rd);
  });
  restoreCsrs(scene);
}

export function vectorCsrUnit(scene: Scene): void {
  const { prng, asm } = scene;
  asm.csrWrite(CSR.mie, 0);
  const number = prng.pick(VECTOR_CSRS);
  const value = scratch(scene);
  const old = scratch(scene, value);
  const seen = scratch(scene, value, old);
  asm.load(value, integerValue(prng));
  asm.csr("w", old, number, value);
  asm.csrRead(seen, number);
  asm.csrWrite(number, old);
  observe(scene, seen);
}

/** Numbers that neither machine implements, and read-only ones. */
const ABSENT = [
  0x000,
  0x004,
  0x008,
  0x00f,
  0x040,
  0x102,
  0x143 + 0x80,
  0x200,
  0x240,
  0x280,
  0x5c0,
  0x600,
  0x680,
  0x7b0,
  0x7c0,
  0x800,
  0x8ff,
  0x9c0,
  0xa00,
  0xbc0,
  0xcc0,
  0xe00,
  0xfc0,
  0x30c,
  0x747,
];
const READ_ONLY = [CSR.mvendorid, CSR.mhartid, CSR.mimpid, CSR.cycle, CSR.instret, CSR.time];

export function illegalCsrUnit(scene: Scene): void {
  const { prng, asm } = scene;
  times(1 + prng.below(4), () => {
    const readOnly = prng.oneIn(3);
    const number = readOnly ? prng.pick(READ_ONLY) : prng.pick(ABSENT);
    const rs1 = readOnly ? scratch(scene) : prng.below(32);
    const operation = prng.pick(["w", "s", "c"] as const);
    guarded(scene, () => asm.csr(operation, anyTarget(scene), number, rs1));
  });
}

/** Something that traps wherever it stands. */
export function emitTrap(scene: Scene): void {
  const { prng, asm } = scene;
  const action = weighted(prng, [
    [2, () => asm.ecall()],
    [2, () => asm.word(0x0010_0073, "ebreak")],
    [1, () => asm.half(0x9002, "c.ebreak")],
    [1, () => asm.half(0x0000, "c.unimp")],
    [1, () => asm.word(0xc000_1073, "unimp")],
    [1, () => asm.word(0xffff_ffff, ".word -1")],
  ] as const);
  guarded(scene, action);
}

/** An access or a jump to where there is no memory. */
function emitAccessFault(scene: Scene): void {
  const { prng, asm } = scene;
  const base = scratch(scene);
  const offset = BigInt(prng.below(4096));
  asm.load(base, prng.pick(VOID_ADDRESSES) + offset);
  guarded(scene, () => {
    if (prng.oneIn(4)) asm.indirectJump(anyTarget(scene), base);
    else emitAccess(scene, base);
  });
}

export function trapUnit(scene: Scene): void {
  const { prng } = scene;
  const actions = [emitTrap, emitTrap, emitAccessFault, emitInteger];
  times(1 + prng.below(4), () => prng.pick(actions)(scene));
}

/** Makes an interrupt pending by one of the ways there are; returns how to take it back. */
export function raiseInterrupt(scene: Scene): () => void {
  const { prng, asm } = scene;
  const value = scratch(scene);
  const pointer = scratch(scene, value);
  const viaPointer = (address: number, raise: () => void, lower: () => void) => {
    asm.load(pointer, BigInt(address));
    raise();
    return () => {
      asm.load(pointer, BigInt(address));
      lower();
    };
  };
  const storeWord = (rs2: number) =>
    asm.word(encodeS(STORE_WORD, pointer, rs2, 0), `sw x${rs2}, 0(x${pointer})`);
  const action = weighted(prng, [
    [
      3,
      () => {
        asm.load(value, 1n << BigInt(prng.pick(SOFTWARE_INTERRUPTS)));
        asm.csr("s", 0, CSR.mip, value);
        return () => asm.csrWrite(CSR.mip, 0);
      },
    ],
    [
      1,
      () => {
        asm.load(value, 1n);
        return viaPointer(
          CLINT_BASE,
          () => storeWord(value),
          () => storeWord(0),
        );
      },
    ],
    [
      1,
      () =>
        viaPointer(
          CLINT_MTIMECMP,
          () => asm.storeDouble(0, pointer, 0),
          () => {
            asm.load(value, -1n);
            asm.storeDouble(value, pointer, 0);
          },
        ),
    ],
    [
      1,
      () => {
        asm.load(value, MENVCFG_STCE);
        asm.csr("s", 0, CSR.menvcfg, value);
        asm.csrWrite(CSR.stimecmp, 0);
        return () => {
          asm.load(value, -1n);
          asm.csrWrite(CSR.stimecmp, value);
          asm.load(value, MENVCFG_STCE);
          asm.csr("c", 0, CSR.menvcfg, value);
        };
      },
    ],
  ] as const);
  return action();
}

/** An interrupt taken in M-mode, direct or vectored, or only waited for, or masked. */
export function interruptUnit(scene: Scene): void {
  const { prng, asm } = scene;
  const value = scratch(scene);
  asm.csrWrite(CSR.mie, 0);
  asm.load(value, BigInt(prng.oneIn(3) ? 0x222 : 0) & integerValue(prng));
  asm.csrWrite(CSR.mideleg, value);
  const vectored = prng.oneIn(2);
  if (vectored) {
    asm.address(value, scene.vectors);
    asm.addImmediate(value, value, 1);
    asm.csrWrite(CSR.mtvec, value);
  }
  const lower = raiseInterrupt(scene);
  asm.load(value, prng.oneIn(4) ? prng.u64() & 0xaaan : 0xaaan);
  if (prng.oneIn(2)) {
    asm.csrWrite(CSR.mie, value);
    if (prng.oneIn(3)) waitForAll(scene);
    asm.load(value, MSTATUS.MIE);
    asm.csr("s", 0, CSR.mstatus, value);
  } else {
    const enable = scratch(scene, value);
    asm.load(enable, MSTATUS.MIE);
    asm.csr("s", 0, CSR.mstatus, enable);
    asm.csrWrite(CSR.mie, value);
  }
  times(1 + prng.below(3), () => emitInteger(scene));
  asm.load(value, MSTATUS.MIE);
  asm.csr("c", 0, CSR.mstatus, value);
  asm.csrRead(value, CSR.mip);
  observe(scene, value);
  lower();
  asm.csrWrite(CSR.mie, 0);
  asm.address(value, scene.machineHandler);
  asm.csrWrite(CSR.mtvec, value);
}

/** wfi with everything enabled but not taken: the interrupt that is pending ends it at once. */
function waitForAll(scene: Scene): void {
  const value = scratch(scene);
  scene.asm.load(value, MSTATUS.MIE);
  scene.asm.csr("c", 0, CSR.mstatus, value);
  scene.asm.load(value, 0xaaan);
  scene.asm.csrWrite(CSR.mie, value);
  scene.asm.word(0x1050_0073, "wfi");
}

/** minstret counts what retires between two reads. */
export function counterUnit(scene: Scene): void {
  const { prng, asm } = scene;
  const before = scratch(scene);
  const after = scratch(scene, before);
  const number = prng.oneIn(4) ? CSR.instret : CSR.minstret;
  asm.csrRead(before, number);
  times(prng.below(6), () => {
    for (;;) {
      const rd = anyTarget(scene);
      const { word, text } = integerWord(scene, rd);
      // The count itself depends on how the program was started.
      const named = [rd, (word >> 15) & 31, (word >> 20) & 31];
      if (named.includes(before)) continue;
      asm.word(word, text);
      break;
    }
  });
  asm.csrRead(after, number);
  const sub = { word: 0x4000_0033, text: `sub x${after}, x${after}, x${before}` };
  asm.word((sub.word | (after << 7) | (after << 15) | (before << 20)) >>> 0, sub.text);
  asm.addImmediate(before, 0, 0);
  observe(scene, after);
}

/** An instruction turns into another one and back, by a store and fence.i. */
export function selfModifyingUnit(scene: Scene): void {
  const { prng, asm } = scene;
  const first = integerWord(scene, scratch(scene));
  const second = integerWord(scene, scratch(scene));
  const pointer = scratch(scene);
  const value = scratch(scene, pointer);
  const flip = scratch(scene, pointer, value);
  const again = prng.oneIn(2);
  times(again ? 2 : 1, () => {
    const slot = asm.label();
    asm.address(pointer, slot);
    asm.load(flip, BigInt((first.word ^ second.word) >>> 0));
    const load = { word: 0x0000_2003, text: `lw x${value}, 0(x${pointer})` };
    asm.word((load.word | (value << 7) | (pointer << 15)) >>> 0, load.text);
    const xor = { word: 0x0000_4033, text: `xor x${value}, x${value}, x${flip}` };
    asm.word((xor.word | (value << 7) | (value << 15) | (flip << 20)) >>> 0, xor.text);
    asm.word(encodeS(STORE_WORD, pointer, value, 0), `sw x${value}, 0(x${pointer})`);
    asm.fenceI();
    asm.bind(slot);
    asm.word(first.word, `${first.text} # or ${second.text}`);
  });
}

export function fenceUnit(scene: Scene): void {
  const { prng, asm } = scene;
  times(1 + prng.below(3), () => {
    const register = prng.below(32);
    const action = prng.pick([
      () => asm.fence(),
      () => asm.fenceI(),
      () => asm.sfence(isReserved(scene, register) ? 0 : register),
    ]);
    action();
    emitInteger(scene);
  });
}
