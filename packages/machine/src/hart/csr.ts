/**
 * The control and status registers: one entry per register, with its field layout, who may touch
 * it and what reading and writing do (privileged manual, chapters "Machine-Level ISA" and
 * "Supervisor-Level ISA"). `defineCsr` turns the table into one Wasm function.
 */

import type { I32, I64 } from "../wasm/expr.ts";
import {
  add,
  and,
  both,
  either,
  eq,
  eqz,
  extendU,
  i32,
  i64,
  ifElse,
  ltU,
  ne,
  nez,
  or,
  shl,
  shrU,
  sub,
  wrap,
  xor,
} from "../wasm/expr.ts";
import { callI64, type Fn, type FuncRef, not } from "../wasm/module.ts";
import { get32, get64, type HartBuilder, set32, set64 } from "./builder.ts";
import { EXIT, type FieldName, PMP_ENTRIES } from "./layout.ts";

/** Bits of mstatus. */
export const MSTATUS = {
  SIE: 1n << 1n,
  MIE: 1n << 3n,
  SPIE: 1n << 5n,
  MPIE: 1n << 7n,
  SPP: 1n << 8n,
  MPP: 3n << 11n,
  FS: 3n << 13n,
  MPRV: 1n << 17n,
  SUM: 1n << 18n,
  MXR: 1n << 19n,
  TVM: 1n << 20n,
  TW: 1n << 21n,
  TSR: 1n << 22n,
  UXL: 2n << 32n,
  SXL: 2n << 34n,
  SD: 1n << 63n,
} as const;

const SSTATUS_WRITABLE =
  MSTATUS.SIE | MSTATUS.SPIE | MSTATUS.SPP | MSTATUS.FS | MSTATUS.SUM | MSTATUS.MXR;
const MSTATUS_WRITABLE =
  SSTATUS_WRITABLE |
  MSTATUS.MIE |
  MSTATUS.MPIE |
  MSTATUS.MPP |
  MSTATUS.MPRV |
  MSTATUS.TVM |
  MSTATUS.TW |
  MSTATUS.TSR;
const SSTATUS_VISIBLE = SSTATUS_WRITABLE | MSTATUS.SD | MSTATUS.UXL;

/** Bits of mip and mie. */
export const IP = {
  SSIP: 1 << 1,
  MSIP: 1 << 3,
  STIP: 1 << 5,
  MTIP: 1 << 7,
  SEIP: 1 << 9,
  MEIP: 1 << 11,
} as const;

const S_INTERRUPTS = IP.SSIP | IP.STIP | IP.SEIP;
const ALL_INTERRUPTS = S_INTERRUPTS | IP.MSIP | IP.MTIP | IP.MEIP;
/** Exceptions 0-9, 12, 13, 15 can be delegated; the ecall from M-mode cannot. */
const DELEGABLE = 0xb3ff;

/** Bits of menvcfg and senvcfg that are implemented. */
export const ENVCFG = { CBZE: 1n << 7n, FIOM: 1n, ADUE: 1n << 61n, STCE: 1n << 63n } as const;

const SATP_SV39 = 8;
/** satp.MODE for four levels; SATP_SV39 for three, 0 for none. */
export const SATP_SV48 = 9;

/** misa: RV64, A C D F I M S U. */
const MISA =
  (2n << 62n) |
  ["A", "C", "D", "F", "I", "M", "S", "U"].reduce(
    (bits, letter) => bits | (1n << BigInt(letter.charCodeAt(0) - 65)),
    0n,
  );

/** What a body may use: `position` is that of the CSR instruction itself. */
export interface CsrContext {
  readonly f: Fn;
  readonly position: I64;
  readonly functions: CsrFunctions;
}

/** Functions that CSR bodies call, declared before. */
export interface CsrFunctions {
  /** (position) -> ticks */
  readonly timeAt: FuncRef;
  /** (position) -> mip */
  readonly pending: FuncRef;
  /** (): after a change of mode, MPRV, MPP, SUM: which TLB sets are in use. */
  readonly refreshMode: FuncRef;
  /** (): after a change of FS, frm, fflags. */
  readonly refreshFloat: FuncRef;
  /** (): after a change of satp. */
  readonly selectContext: FuncRef;
  /** (): forgets all cached translations. */
  readonly flushTlb: FuncRef;
}

/** (index, action, operand, writes, position) -> old value. */
export type CsrRef = FuncRef<readonly ["i32", "i32", "i64", "i32", "i64"], "i64">;

interface CsrEntry {
  readonly name: string;
  readonly number: number;
  /** Further condition for access besides privilege: 1 where the access is illegal. */
  readonly denied?: I32;
  readonly read: (c: CsrContext) => I64;
  /** Absent: writes are ignored (or illegal, where the number says read-only). */
  readonly write?: (c: CsrContext, value: I64) => void;
  /** Writing it may change which interrupt is due, or how memory is seen. */
  readonly recheck?: boolean;
}

const isUser = eqz(get32("mode"));
const isSupervisor = eq(get32("mode"), i32(1));
const bit = (field: FieldName, mask: bigint | number): I32 => nez(and(get64(field), i64(mask)));

// ---- makers ----------

interface PlainOptions {
  /** Bits that a write can change; default: all. */
  readonly writable?: bigint | number;
  readonly recheck?: boolean;
}

/** A register that is a state field. */
function plain(number: number, name: FieldName, options: PlainOptions = {}): CsrEntry {
  const mask = BigInt.asUintN(64, BigInt(options.writable ?? -1n));
  return {
    name,
    number,
    recheck: options.recheck ?? false,
    read: () => get64(name),
    write: ({ f }, value) => set64(f, name, and(value, i64(mask))),
  };
}

/** Reads as a constant; writes change nothing. */
const fixed = (number: number, name: string, value: bigint): CsrEntry => ({
  name,
  number,
  read: () => i64(value),
});

/** `old` with the bits of `mask` taken from `value`. */
function merge(old: I64, value: I64, mask: bigint | number): I64 {
  const wide = BigInt(mask);
  return or(and(old, i64(~wide)), and(value, i64(wide)));
}

// ---- floating point ----------

const floatOff = eqz(and(get64("mstatus"), i64(MSTATUS.FS)));

function writeFloat(c: CsrContext, write: (f: Fn) => void): void {
  write(c.f);
  set64(c.f, "mstatus", or(get64("mstatus"), i64(MSTATUS.FS)));
  c.f.call(c.functions.refreshFloat);
}

const FLOAT: readonly CsrEntry[] = [
  {
    name: "fflags",
    number: 0x001,
    denied: floatOff,
    read: () => extendU(get32("fflags")),
    write: (c, value) => writeFloat(c, (f) => set32(f, "fflags", and(wrap(value), i32(31)))),
  },
  {
    name: "frm",
    number: 0x002,
    denied: floatOff,
    read: () => extendU(get32("frm")),
    write: (c, value) => writeFloat(c, (f) => set32(f, "frm", and(wrap(value), i32(7)))),
  },
  {
    name: "fcsr",
    number: 0x003,
    denied: floatOff,
    read: () => extendU(or(shl(get32("frm"), i32(5)), get32("fflags"))),
    write: (c, value) =>
      writeFloat(c, (f) => {
        set32(f, "fflags", and(wrap(value), i32(31)));
        set32(f, "frm", and(shrU(wrap(value), i32(5)), i32(7)));
      }),
  },
];

// ---- counters ----------

/** An unprivileged counter is readable where mcounteren, and for U-mode scounteren, allow it. */
function counterDenied(index: number): I32 {
  const mask = 1n << BigInt(index);
  const machineDenies = not(bit("mcounteren", mask));
  const supervisorDenies = not(bit("scounteren", mask));
  return both(ne(get32("mode"), i32(3)), either(machineDenies, both(isUser, supervisorDenies)));
}

interface Counter {
  /** Its bit in mcountinhibit and mcounteren. */
  readonly index: number;
  readonly offset: FieldName;
  readonly frozen: FieldName;
  readonly steps: (c: CsrContext) => I64;
}

const CYCLE: Counter = {
  index: 0,
  offset: "cycleOffset",
  frozen: "cycleFrozen",
  steps: (c) => c.position,
};
const INSTRET: Counter = {
  index: 2,
  offset: "instretOffset",
  frozen: "instretFrozen",
  steps: (c) => sub(c.position, get64("traps")),
};

function readCounter(c: CsrContext, counter: Counter): I64 {
  const running = add(counter.steps(c), get64(counter.offset));
  return ifElse(bit("mcountinhibit", 1n << BigInt(counter.index)), get64(counter.frozen), running);
}

/** The instruction that writes a counter does not count itself: the next one reads `value`. */
function writeCounter(c: CsrContext, counter: Counter, value: I64): void {
  set64(c.f, counter.frozen, value);
  set64(c.f, counter.offset, sub(value, add(counter.steps(c), i64(1))));
}

function writeInhibit(c: CsrContext, value: I64): void {
  for (const counter of [CYCLE, INSTRET]) {
    const now = c.f.let(readCounter(c, counter));
    writeCounter(c, counter, now);
  }
  set64(c.f, "mcountinhibit", and(value, i64(5)));
}

function counters(): CsrEntry[] {
  const entries: CsrEntry[] = [
    { name: "cycle", number: 0xc00, denied: counterDenied(0), read: (c) => readCounter(c, CYCLE) },
    {
      name: "time",
      number: 0xc01,
      denied: counterDenied(1),
      read: (c) => callI64(c.functions.timeAt, c.position),
    },
    {
      name: "instret",
      number: 0xc02,
      denied: counterDenied(2),
      read: (c) => readCounter(c, INSTRET),
    },
    {
      name: "mcycle",
      number: 0xb00,
      read: (c) => readCounter(c, CYCLE),
      write: (c, value) => writeCounter(c, CYCLE, value),
    },
    {
      name: "minstret",
      number: 0xb02,
      read: (c) => readCounter(c, INSTRET),
      write: (c, value) => writeCounter(c, INSTRET, value),
    },
    {
      name: "mcountinhibit",
      number: 0x320,
      read: () => get64("mcountinhibit"),
      write: writeInhibit,
    },
  ];
  for (let i = 3; i < 32; i++) {
    entries.push(
      { ...fixed(0xc00 + i, `hpmcounter${i}`, 0n), denied: counterDenied(i) },
      fixed(0xb00 + i, `mhpmcounter${i}`, 0n),
      fixed(0x320 + i, `mhpmevent${i}`, 0n),
    );
  }
  return entries;
}

// ---- status, interrupts, translation ----------

/** mstatus as software reads it: SD sums up FS. */
const statusValue = or(
  or(get64("mstatus"), i64(MSTATUS.UXL | MSTATUS.SXL)),
  ifElse(eq(and(get64("mstatus"), i64(MSTATUS.FS)), i64(MSTATUS.FS)), i64(MSTATUS.SD), i64(0)),
);

function writeStatus(c: CsrContext, value: I64, writable: bigint): void {
  const { f, functions } = c;
  const old = f.let(get64("mstatus"));
  const next = f.let(merge(old, value, writable));
  // MPP is WARL: the reserved value 2 leaves it as it was.
  f.if(eq(and(next, i64(MSTATUS.MPP)), i64(2n << 11n)), () =>
    f.set(next, merge(next, old, MSTATUS.MPP)),
  );
  set64(f, "mstatus", next);
  f.if(nez(and(xor(old, next), i64(MSTATUS.MXR))), () => f.call(functions.flushTlb));
  f.call(functions.refreshMode);
  f.call(functions.refreshFloat);
}

const timerByStimecmp = bit("menvcfg", ENVCFG.STCE);

/** stimecmp: S-mode needs mcounteren.TM and menvcfg.STCE (Sstc). */
const stimecmpDenied = both(isSupervisor, either(not(bit("mcounteren", 2n)), not(timerByStimecmp)));

const STATUS: readonly CsrEntry[] = [
  {
    name: "mstatus",
    number: 0x300,
    recheck: true,
    read: () => statusValue,
    write: (c, value) => writeStatus(c, value, MSTATUS_WRITABLE),
  },
  {
    name: "sstatus",
    number: 0x100,
    recheck: true,
    read: () => and(statusValue, i64(SSTATUS_VISIBLE)),
    write: (c, value) => writeStatus(c, value, SSTATUS_WRITABLE),
  },
  fixed(0x301, "misa", MISA),
  plain(0x302, "medeleg", { writable: DELEGABLE }),
  plain(0x303, "mideleg", { writable: S_INTERRUPTS, recheck: true }),
  plain(0x304, "mie", { writable: ALL_INTERRUPTS, recheck: true }),
  {
    name: "sie",
    number: 0x104,
    recheck: true,
    read: () => and(get64("mie"), get64("mideleg")),
    write: ({ f }, value) =>
      set64(
        f,
        "mie",
        or(and(get64("mie"), xor(get64("mideleg"), i64(-1))), and(value, get64("mideleg"))),
      ),
  },
  {
    name: "mip",
    number: 0x344,
    recheck: true,
    read: (c) => callI64(c.functions.pending, c.position),
    write: ({ f }, value) => {
      // With Sstc, STIP follows stimecmp and is not writable.
      const writable = ifElse(timerByStimecmp, i64(S_INTERRUPTS & ~IP.STIP), i64(S_INTERRUPTS));
      const mask = f.let(writable);
      const kept = and(get64("mipSoft"), xor(mask, i64(-1)));
      set64(f, "mipSoft", or(kept, and(value, mask)));
    },
  },
  {
    name: "sip",
    number: 0x144,
    recheck: true,
    read: (c) => and(callI64(c.functions.pending, c.position), get64("mideleg")),
    write: ({ f }, value) => {
      const mask = f.let(and(get64("mideleg"), i64(IP.SSIP)));
      const kept = and(get64("mipSoft"), xor(mask, i64(-1)));
      set64(f, "mipSoft", or(kept, and(value, mask)));
    },
  },
  {
    name: "satp",
    number: 0x180,
    denied: both(isSupervisor, bit("mstatus", MSTATUS.TVM)),
    recheck: true,
    read: () => get64("satp"),
    write: ({ f, functions }, value) => {
      // A write with an unsupported mode has no effect at all.
      const mode = f.let(wrap(shrU(value, i64(60))));
      const paged = either(eq(mode, i32(SATP_SV39)), eq(mode, i32(SATP_SV48)));
      f.if(either(eqz(mode), paged), () => {
        set64(f, "satp", and(value, i64(0xf0ff_ffff_ffff_ffffn | (0xffffn << 44n))));
        f.call(functions.selectContext);
      });
    },
  },
  {
    name: "stimecmp",
    number: 0x14d,
    denied: stimecmpDenied,
    recheck: true,
    read: () => get64("stimecmp"),
    write: ({ f }, value) => set64(f, "stimecmp", value),
  },
  {
    name: "menvcfg",
    number: 0x30a,
    recheck: true,
    read: () => get64("menvcfg"),
    write: ({ f, functions }, value) => {
      const mask = ENVCFG.CBZE | ENVCFG.FIOM | ENVCFG.ADUE | ENVCFG.STCE;
      set64(f, "menvcfg", and(value, i64(mask)));
      f.call(functions.flushTlb);
    },
  },
  plain(0x10a, "senvcfg", { writable: ENVCFG.CBZE | ENVCFG.FIOM }),
];

/** xtvec: direct or vectored; a reserved mode leaves the register as it was. */
function trapVector(number: number, name: "mtvec" | "stvec"): CsrEntry {
  return {
    name,
    number,
    read: () => get64(name),
    write: ({ f }, value) => f.if(ltU(and(value, i64(3)), i64(2)), () => set64(f, name, value)),
  };
}

function pmp(): CsrEntry[] {
  const entries = [plain(0x3a0, "pmpcfg0"), plain(0x3a2, "pmpcfg2")];
  for (let i = 0; i < PMP_ENTRIES; i++) {
    entries.push(plain(0x3b0 + i, `pmpaddr${i}` as FieldName, { writable: (1n << 54n) - 1n }));
  }
  return entries;
}

/** Every implemented CSR. */
const CSRS: readonly CsrEntry[] = [
  ...FLOAT,
  ...counters(),
  ...STATUS,
  trapVector(0x305, "mtvec"),
  trapVector(0x105, "stvec"),
  plain(0x306, "mcounteren", { writable: 0xffff_ffffn }),
  plain(0x106, "scounteren", { writable: 0xffff_ffffn }),
  plain(0x340, "mscratch"),
  plain(0x140, "sscratch"),
  plain(0x341, "mepc", { writable: ~1n }),
  plain(0x141, "sepc", { writable: ~1n }),
  plain(0x342, "mcause"),
  plain(0x142, "scause"),
  plain(0x343, "mtval"),
  plain(0x143, "stval"),
  fixed(0xf11, "mvendorid", 0n),
  fixed(0xf12, "marchid", 0n),
  fixed(0xf13, "mimpid", 0n),
  fixed(0xf14, "mhartid", 0n),
  fixed(0xf15, "mconfigptr", 0n),
  // No triggers: tselect finds none, and tdata1 reads type 0.
  fixed(0x7a0, "tselect", 0n),
  fixed(0x7a1, "tdata1", 0n),
  fixed(0x7a2, "tdata2", 0n),
  fixed(0x7a3, "tdata3", 0n),
  ...pmp(),
];

const INDEX_OF = new Map(CSRS.map((entry, index) => [entry.number, index]));

/** Index into `CSRS` of a CSR number; undefined: no such register. */
export function csrIndex(number: number): number | undefined {
  return INDEX_OF.get(number);
}

/** Name of a CSR number; undefined: no such register. */
export function csrName(number: number): string | undefined {
  const index = INDEX_OF.get(number);
  return index === undefined ? undefined : CSRS[index].name;
}

/**
 * (index, action, operand, writes, position) -> old value. action: 0 write, 1 set, 2 clear.
 * Leaves `exit` = illegal where the access is not allowed, = recheck where the caller must look
 * at interrupts and translation again; 0 otherwise.
 */
export function defineCsr(b: HartBuilder, functions: CsrFunctions, ref: CsrRef): void {
  b.m.define(ref, (f, index, action, operand, writes, position) => {
    const ctx: CsrContext = { f, position, functions };
    const old = f.local("i64");
    const value = f.local("i64");
    const illegal = (): void => {
      set32(f, "exit", i32(EXIT.illegal));
      f.return(i64(0));
    };
    const caseOf = (entry: CsrEntry): void => {
      const privilege = (entry.number >> 8) & 3;
      const readOnly = entry.number >> 10 === 3;
      if (privilege > 0) f.if(ltU(get32("mode"), i32(privilege)), illegal, undefined, "unlikely");
      if (readOnly) f.if(writes, illegal, undefined, "unlikely");
      if (entry.denied !== undefined) f.if(entry.denied, illegal, undefined, "unlikely");
      f.set(old, entry.read(ctx));
      const { write } = entry;
      if (write !== undefined) {
        f.if(writes, () => {
          f.set(
            value,
            ifElse(
              eqz(action),
              operand,
              ifElse(
                eq(action, i32(1)),
                or(rmwBase(entry, old), operand),
                and(rmwBase(entry, old), xor(operand, i64(-1))),
              ),
            ),
          );
          write(ctx, value);
          if (entry.recheck === true) set32(f, "exit", i32(EXIT.recheck));
        });
      }
      f.return(old);
    };
    const open = (at: number): void => {
      if (at < 0) {
        f.block((none) => {
          f.brTable(index, labels, none);
        });
        f.unreachable();
        return;
      }
      f.block((label) => {
        labels[at] = label;
        open(at - 1);
      });
      f.scope(() => caseOf(CSRS[at]));
    };
    const labels: { depth: number }[] = [];
    open(CSRS.length - 1);
    f.unreachable();
  });
}

/**
 * What set and clear work on. For mip the external SEIP line is not part of the value that is
 * written back, although it is read (privileged manual, "Machine Interrupt Registers").
 */
function rmwBase(entry: CsrEntry, old: I64): I64 {
  return entry.name === "mip" || entry.name === "sip" ? get64("mipSoft") : old;
}
