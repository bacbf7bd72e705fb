/**
 * Where everything lies in the machine's one linear memory. The interpreter, the translated code,
 * the snapshot and the digest all read these offsets; no offset is written down anywhere else.
 *
 *   +------------+--------------+------------------------+---------------+--------------+-----+
 *   | hart state | record slots | hash scratch, TLBs,     | page metadata | entry counts | RAM |
 *   | 8 KiB      | predecoded   | jump caches, fill list | per RAM page  | per record   |     |
 *   +------------+--------------+------------------------+---------------+--------------+-----+
 */
import { assert } from "@dejavm/base";
import { PAGE_BYTES } from "../device/device.ts";

/** One field of the hart's state block: byte offset and width. */
export interface Field {
  readonly offset: number;
  readonly width: 4 | 8;
}

/** Architectural fields travel in snapshots and digests; the others are caches and plumbing. */
interface FieldSpec {
  readonly width: 4 | 8;
  readonly architectural: boolean;
}

const a64: FieldSpec = { width: 8, architectural: true };
const a32: FieldSpec = { width: 4, architectural: true };
const t64: FieldSpec = { width: 8, architectural: false };
const t32: FieldSpec = { width: 4, architectural: false };

/** Byte offset of x0 and f0; registers are 8 bytes each. */
export const X_BASE = 0;
export const F_BASE = 256;
const FIELDS_BASE = 512;

/** PMP address registers that software can probe. */
export const PMP_ENTRIES = 16;

type PmpName = `pmpaddr${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7 | 8 | 9 | 10 | 11 | 12 | 13 | 14 | 15}`;

function pmpAddresses(): Record<PmpName, FieldSpec> {
  const specs: Partial<Record<PmpName, FieldSpec>> = {};
  for (let i = 0; i < PMP_ENTRIES; i++) specs[`pmpaddr${i}` as PmpName] = a64;
  return specs as Record<PmpName, FieldSpec>;
}

/** Address spaces whose cached translations are kept side by side: a power of 2. */
export const CONTEXTS = 8;

type ContextName = `contextSatp${0 | 1 | 2 | 3 | 4 | 5 | 6 | 7}`;

/** Fields that name the address space, as satp has it, of each context. */
export const CONTEXT_SATP: readonly ContextName[] = [
  "contextSatp0",
  "contextSatp1",
  "contextSatp2",
  "contextSatp3",
  "contextSatp4",
  "contextSatp5",
  "contextSatp6",
  "contextSatp7",
];

function contextFields(): Record<ContextName, FieldSpec> {
  const specs: Partial<Record<ContextName, FieldSpec>> = {};
  for (const name of CONTEXT_SATP) specs[name] = t64;
  return specs as Record<ContextName, FieldSpec>;
}

/** Every scalar of the hart, in layout order. CSR names are those of the privileged manual. */
const SPECS = {
  pc: a64,
  /** Position (design: instructions retired plus traps taken) at the last exit. */
  position: a64,
  /** Traps taken so far: instret = position - traps. */
  traps: a64,
  /** 0 = U, 1 = S, 3 = M. */
  mode: a32,
  /** 1 while the hart waits in WFI. */
  waiting: a32,
  /** 1 while an LR reservation is held on virtual address `reservation`. */
  reserved: a32,
  frm: a32,
  fflags: a32,
  reservation: a64,
  mstatus: a64,
  medeleg: a64,
  mideleg: a64,
  mie: a64,
  /** Software-writable bits of mip: SSIP, and STIP, SEIP as M-mode wrote them. */
  mipSoft: a64,
  /** Bits of mip that devices drive: MSIP, MEIP, SEIP. */
  mipLines: a64,
  mtvec: a64,
  mscratch: a64,
  mepc: a64,
  mcause: a64,
  mtval: a64,
  mcounteren: a64,
  mcountinhibit: a64,
  menvcfg: a64,
  stvec: a64,
  sscratch: a64,
  sepc: a64,
  scause: a64,
  stval: a64,
  scounteren: a64,
  senvcfg: a64,
  satp: a64,
  stimecmp: a64,
  mtimecmp: a64,
  /** mcycle = position + cycleOffset; minstret = position - traps + instretOffset. */
  cycleOffset: a64,
  instretOffset: a64,
  /** Values of the counters while mcountinhibit stops them. */
  cycleFrozen: a64,
  instretFrozen: a64,
  /** Virtual time at position `timePosition`: ticks and a 32-bit binary fraction of one. */
  timeTicks: a64,
  timeFraction: a64,
  timePosition: a64,
  /** Ticks per 2^32 positions. */
  timeRate: a64,
  /** 1: S-mode ecalls go to the built-in SBI. */
  builtinSbi: a32,
  pmpcfg0: a64,
  pmpcfg2: a64,
  ...pmpAddresses(),

  /** Position at which the budget of the present `execute` runs out. */
  segmentEnd: t64,
  /** Why code left the straight path (see EXIT); 0 while it has not. */
  exit: t32,
  /** Budget left when `execute` returned. */
  budgetLeft: t32,
  /** Trap to be taken: cause (interrupt bit included) and tval. */
  trapCause: t64,
  trapValue: t64,
  /** 1 while one instruction runs alone: device access and code writes are allowed. */
  stepping: t32,
  /** A record to put back after an exact stop: address (0: none) and its op. */
  patchAt: t32,
  patchOp: t32,
  patchBeforeAt: t32,
  patchBeforeOp: t32,
  /** 0 = FS Off, 1 = FS on but not Dirty, 2 = Dirty. */
  fpState: t32,
  /** 0 exactly when frm = RNE, NX is set and FS is Dirty: nothing to accrue, nothing to mark. */
  fpMode: t32,
  /** The context in use, and how many have an address space. */
  context: t32,
  contextCount: t32,
  /** How many have been used before: the tables of the others are not yet empty. */
  contextsReady: t32,
  ...contextFields(),
  /** TLB base addresses for data accesses and fetches in the present mode. */
  dataTlb: t32,
  fetchTlb: t32,
  jumpCache: t32,
  fillCount: t32,
  /** Pages flagged as page tables since the last flush, and slow stores into them. */
  tableCount: t32,
  tableStores: t32,
  /** Result of a page walk: guest physical address, and the page-table pages it read. */
  walkAddress: t64,
  walkTable0: t32,
  walkTable1: t32,
  walkTable2: t32,
  walkTable3: t32,
  /** PTE to update, as RAM linear address (0: none), and its new value. */
  walkPteAt: t32,
  walkPte: t64,
  /** Value read from or written to a device. */
  mmioValue: t64,
  /** Physical pages absent at the last stop (up to 4), and how many. */
  missingCount: t32,
  missing0: t32,
  missing1: t32,
  /** RAM pages whose code goes once the present instruction is done, + 1; 0: none. */
  dropCode0: t32,
  dropCode1: t32,
  dropCode2: t32,
  dropCode3: t32,
  /** 1: all TLBs go once the present instruction is done. */
  dropTlb: t32,
  /** Device or SBI code asks `run` to return after the present instruction. */
  stopRequest: t32,
  /** Idle: the virtual time up to which the machine may skip by itself. */
  skipLimit: t64,
  /** Idle: when the earliest enabled timer fires; -1: never. */
  idleDeadline: t64,
  /** Position at which virtual time last passed without one, the hart waiting; all ones: none. */
  idlePosition: t64,
  /** Virtual time at which a device wants to be looked at; all ones: never. */
  deviceTimer: t64,
  /** What hash_page computed. */
  hashLow: t64,
  hashHigh: t64,
  /** Page epoch of writes happening now (dirty tracking). */
  epoch: t32,
  /** Record of the indirect jump that the interpreter did last, and the low bits of its target. */
  jumpFrom: t32,
  jumpTo: t32,
  /** Entries of a block after which it is reported as hot, again and again; 0: never. */
  heatUnit: t32,
  /** 1: there are breakpoints. */
  breakpoints: t32,
  /** 1: a fetch that misses the TLB is left to the outer loop. */
  deferFetch: t32,
  /** 1: there is a `tohost` word, which the host looks at after each instruction run alone. */
  htif: t32,
  /** Statistics. */
  statTranslated: t64,
  statDataFills: t64,
  statFetchFills: t64,
  statFlushes: t64,
  statSteps: t64,
  statTableStores: t64,
} as const satisfies Record<string, FieldSpec>;

/** Name of a scalar of the state block. */
/** Fields that name pages whose code goes after an instruction: two of data, two of page tables. */
export const STALE_CODE = ["dropCode0", "dropCode1", "dropCode2", "dropCode3"] as const;

/** Name of a scalar of the state block. */
export type FieldName = keyof typeof SPECS;

function layOut(): Record<FieldName, Field> {
  let offset = FIELDS_BASE;
  const fields: Partial<Record<FieldName, Field>> = {};
  for (const [name, { width }] of Object.entries(SPECS) as [FieldName, FieldSpec][]) {
    offset = Math.ceil(offset / width) * width;
    fields[name] = { offset, width };
    offset += width;
  }
  assert(offset <= STATE_BYTES, "hart state exceeds its block");
  return fields as Record<FieldName, Field>;
}

/** Size of the state block: registers, scalars, and the opcode table of fused pairs. */
const STATE_BYTES = 8192;
/** Offset and width of every scalar. */
export const FIELD: Readonly<Record<FieldName, Field>> = layOut();

/** Names of the fields that snapshots and digests carry. */
export const ARCHITECTURAL_FIELDS: readonly FieldName[] = (
  Object.entries(SPECS) as [FieldName, FieldSpec][]
)
  .filter(([, spec]) => spec.architectural)
  .map(([name]) => name);

/** Why execution left generated code (field `exit`, and the result of `run`). */
export const EXIT = {
  none: 0,
  /** The budget is used up: position is where it was asked to be. */
  budget: 1,
  /** Fewer instructions are left than the block has. */
  short: 2,
  /** A trap is pending in trapCause / trapValue. */
  trap: 3,
  /** Illegal instruction at pc: its bits become trapValue. */
  illegal: 4,
  /** The instruction at pc must run alone. */
  step: 5,
  /** It ran alone, up to the stop record. */
  stepped: 6,
  /** State that decides on interrupts or translation changed; pc is past the instruction. */
  recheck: 7,
  wfi: 8,
  /** Pages are absent: missing0.. */
  missingPage: 9,
  /** A device needs pages or blocks; the host knows which. */
  missingDevice: 10,
  /** S-mode ecall for the built-in SBI; pc is at the ecall. */
  sbi: 11,
  idle: 12,
  /** stopRequest was raised. */
  stop: 13,
  /** The record at pc must be prepared: its instruction straddles two pages or has a breakpoint. */
  prepare: 14,
  /** A breakpoint is at pc; its instruction has not happened. */
  breakpoint: 15,
  /** Virtual time has reached deviceTimer. */
  deviceTimer: 16,
} as const;

// ---- TLBs ----------

/** Direct-mapped data TLB: per set 16,384 entries of 32 bytes, 64 MiB of address space. */
export const DTLB_ENTRIES = 16_384;
export const DTLB_ENTRY = {
  bytes: 32,
  shift: 5,
  readTag: 0,
  writeTag: 8,
  /** i32: linear address = low 32 bits of the virtual address + addend. */
  addend: 16,
  /** i32: RAM page number. */
  page: 20,
} as const;
/** Fetch TLB: per set 4,096 entries of 16 bytes. */
export const ITLB_ENTRIES = 4096;
export const ITLB_ENTRY = { bytes: 16, shift: 4, tag: 0, slot: 8 } as const;

/** TLB sets: one per way of checking permissions. */
export const TLB_SET = { user: 0, supervisor: 1, supervisorSum: 2, machine: 3 } as const;
/** How many sets a context has. */
export const TLB_SETS = 4;
/** Bytes of one set of the data TLB. */
export const DTLB_SET_BYTES = DTLB_ENTRIES * DTLB_ENTRY.bytes;
/** Bytes of one set of the fetch TLB. */
export const ITLB_SET_BYTES = ITLB_ENTRIES * ITLB_ENTRY.bytes;

/** Jump cache: where translated code for a virtual address is; one per privilege mode. */
export const JUMP_CACHE_ENTRIES = 8192;
/** One entry; empty ones have a tag of all ones. */
export const JUMP_CACHE_ENTRY = { bytes: 16, shift: 4, tag: 0, region: 8 } as const;
/** Bytes of one jump cache. */
export const JUMP_CACHE_BYTES = JUMP_CACHE_ENTRIES * JUMP_CACHE_ENTRY.bytes;

/** Entries filled since the last flush, by address; past this many a flush clears everything. */
export const FILL_LIST_CAPACITY = 65_536;

// ---- predecoded records ----------

/** RAM pages flagged as page tables since the last flush, by number; more force a flush. */
export const TABLE_LIST_CAPACITY = 4096;

/** One record per halfword of a code page; two sentinels, then the straddling instruction. */
export const RECORD = {
  bytes: 8,
  perPage: 2048,
  /** u16. */
  op: 0,
  /** u8: rd * 8, or rs2 * 8 where there is no rd. */
  rd: 2,
  /** u8: rs1 * 8. */
  rs1: 3,
  /** s16, or rs2 * 8 and rs3 * 8 as two bytes. */
  imm: 4,
  rs2: 4,
  rs3: 5,
  /** u16: instructions from here to the end of the block, this one included. */
  count: 6,
} as const;
const RECORDS_BYTES = (RECORD.perPage + 4) * RECORD.bytes;

/** What stands beside each record: 8 bytes at a fixed distance, given as offsets from it. */
export const AUX = {
  /** u16: the opcode that OP.region stands in front of. */
  op: RECORDS_BYTES,
  /** u16: table index of the translated region that begins here; 0: none. */
  region: RECORDS_BYTES + 2,
  /** u16: budget that the region wants at its entry. */
  need: RECORDS_BYTES + 4,
} as const;

/** A page's records and what stands beside them. */
export const SLOT_BYTES = 2 * RECORDS_BYTES;
/** The byte that counts the entries of a block: `heat` + the address of its record >> this. */
export const HEAT_SHIFT = 3;
/** Within a slot: the word of the instruction that straddles its end, and where it came from. */
export const SLOT_CROSS_WORD = (RECORD.perPage + 2) * RECORD.bytes;
/** Within a slot: the record that this word was decoded into. */
export const SLOT_CROSS_RECORD = (RECORD.perPage + 3) * RECORD.bytes;
/** Within a slot: its RAM page number (i32). */
export const SLOT_PAGE = SLOT_CROSS_WORD + 4;
export const CROSS_INDEX = RECORD.perPage - 1;

/** Code pages kept predecoded at once; when all are taken everything is dropped. */
const SLOT_COUNT = 4096;

// ---- page metadata ----------

/** Bits of a page's flag byte; any of them keeps its write tag (or both tags) out of the TLB. */
export const PAGE_FLAG = {
  /** Not here yet: touching it stops the machine. */
  absent: 1,
  /** Read as a page table by a walk whose result is cached. */
  table: 2,
  /** Has predecoded records. */
  code: 4,
  /** A watch range touches it. */
  watched: 8,
  /** Holds `tohost`. */
  htif: 16,
  /** Not touched since somebody began to record first touches. */
  untouched: 32,
} as const;

/** Where the variable parts begin, for one RAM size. */
export interface MemoryMap {
  readonly hashScratch: number;
  readonly dtlb: number;
  readonly itlb: number;
  readonly jumpCache: number;
  readonly fillList: number;
  readonly tableList: number;
  /** u8 per RAM page. */
  readonly pageFlags: number;
  /** u32 per RAM page: epoch of the last write. */
  readonly pageEpochs: number;
  /** i64 per page flagged as a page table: what it maps (mmu/page-table.ts, `tableInfo`). */
  readonly pageTables: number;
  /** u32 per RAM page: linear address of its record slot, 0: none. */
  readonly pageSlots: number;
  readonly slots: number;
  /** u8 per record: how often the block that begins there was entered; see HEAT_SHIFT. */
  readonly heat: number;
  readonly slotCount: number;
  readonly ram: number;
  readonly ramBytes: number;
  readonly ramPages: number;
  readonly totalBytes: number;
}

/** Room for bytes that are hashed but do not lie in guest RAM. */
const HASH_SCRATCH_BYTES = 65_536;
/** Unit in which a linear memory is sized. */
export const WASM_PAGE_BYTES = 65_536;

/** Lays out linear memory for `ramBytes` of guest RAM (a multiple of 4,096). */
export function memoryMap(ramBytes: number): MemoryMap {
  const ramPages = ramBytes / PAGE_BYTES;
  let at = STATE_BYTES;
  const take = (bytes: number, align = 4096): number => {
    at = Math.ceil(at / align) * align;
    const start = at;
    at += bytes;
    return start;
  };
  const slotCount = Math.min(SLOT_COUNT, ramPages);
  const slots = take(slotCount * SLOT_BYTES);
  const map = {
    hashScratch: take(HASH_SCRATCH_BYTES),
    dtlb: take(CONTEXTS * TLB_SETS * DTLB_SET_BYTES),
    itlb: take(CONTEXTS * TLB_SETS * ITLB_SET_BYTES),
    jumpCache: take(CONTEXTS * TLB_SETS * JUMP_CACHE_BYTES),
    fillList: take(FILL_LIST_CAPACITY * 4),
    tableList: take(TABLE_LIST_CAPACITY * 4),
    pageFlags: take(ramPages),
    pageEpochs: take(ramPages * 4),
    pageTables: take(ramPages * 8),
    pageSlots: take(ramPages * 4),
    slots,
    heat: take((slotCount * SLOT_BYTES) >>> HEAT_SHIFT) - (slots >>> HEAT_SHIFT),
    slotCount,
    ram: take(ramBytes, WASM_PAGE_BYTES),
    ramBytes,
    ramPages,
  };
  return { ...map, totalBytes: Math.ceil(at / WASM_PAGE_BYTES) * WASM_PAGE_BYTES };
}
