/**
 * Random programs that do to their page tables what operating systems do without a fence, and
 * worse: entries change, A and D bits go, tables alias data and map themselves, code is
 * rewritten through another mapping, satp, mode, SUM and MXR change. Every fault is skipped by an
 * M-mode handler that sums it up in s11.
 */
import { assert, Prng } from "@dejavm/base";
import { Assembler, type LoadName, REG, type RName, type StoreName } from "../support/assembler.ts";
import type { Program } from "../support/guest.ts";
import { PageTables, type PagingMode, PTE, pte, satp } from "../support/page-tables.ts";

const BASE = 0x8000_0000;
const PAGE = 4096;
/** Physical places. */
const AT = {
  handler: BASE + 0x1000,
  code: BASE + 0x1_0000,
  /** The same code again, for mappings that change under running code. */
  copy: BASE + 0x2_0000,
  tables: BASE + 0x4_0000,
  pristine: BASE + 0x6_0000,
  data: BASE + 0x8_0000,
} as const;
const CODE_PAGES = 16;
const DATA_PAGES = 16;
/** Page tables of one address space at most. */
const SPACE_PAGES = 16;
const IMAGE_BYTES = 0xa_0000;

/** Virtual places; each has an alias for U-mode that far above. */
const VIRTUAL = {
  code: 0x4000_0000n,
  rewrite: 0x4100_0000n,
  data: 0x1000_0000n,
  tables: 0x2000_0000n,
} as const;
const USER_ALIAS = 0x20_0000n;
/** The data window again, through the same leaf table. */
const DATA_ALIAS = 0x20_0000n;

/** Address space identifiers that a program uses. */
const CONTEXT_NAMES = 7;

/** Requests to the handler, in a7. */
const REQUEST = { satp: 0, mode: 1, status: 2, restore: 3 } as const;
const SUM = 1 << 18;
const MXR = 1 << 19;

const { zero, t0, t1, t2, a0, a1, a2, a3, a4, a5, a7, s9, s10, s11, t3, t4, t5, t6 } = REG;
const DATA_REGISTERS = [a2, a3, a4, a5, t3, t4, t5, t6] as const;
const LOADS: readonly LoadName[] = ["lb", "lh", "lw", "ld", "lbu", "lhu", "lwu"];
const STORES: readonly StoreName[] = ["sb", "sh", "sw", "sd"];
const AMOS: readonly RName[] = ["amoadd.d", "amoswap.d", "amoor.d", "amoand.d", "amoadd.w"];
const RW = PTE.V | PTE.R | PTE.W;

/** Rights of the data pages in turn. */
const RIGHTS = [RW, RW, RW, PTE.V | PTE.X, PTE.V | PTE.R] as const;

/** One address space: its tables, and the entries that the program plays with. */
interface Space {
  readonly tables: PageTables;
  readonly satp: bigint;
}

/** A program of `operations` random operations, run round and round. */
export function pagedProgram(mode: PagingMode, seed: number, operations = 220): Program {
  const random = new Prng(seed);
  const spaces = makeSpaces(mode);
  const a = new Assembler(BASE, IMAGE_BYTES);
  emitBoot(a, spaces[0]);
  emitHandler(a, spaces);
  const generator = new Generator(a, random, spaces);
  generator.emit(operations);
  for (const { tables } of spaces) {
    tables.emit((address, bytes) => {
      a.org(address - BASE);
      a.bytes(bytes);
    });
  }
  for (const [i, { tables }] of spaces.entries()) {
    const table = tables.tableOf(VIRTUAL.data);
    tables.emit((address, bytes) => {
      if (address !== table) return;
      a.org(AT.pristine - BASE + i * PAGE);
      a.bytes(bytes);
    });
  }
  a.org(AT.data - BASE);
  a.bytes(random.fill(new Uint8Array(DATA_PAGES * PAGE)));
  const image = a.finish();
  const code = AT.code - BASE;
  image.copyWithin(AT.copy - BASE, code, code + CODE_PAGES * PAGE);
  return { name: `${mode}, seed ${seed}`, image, length: 3000 };
}

/** Two address spaces that share code and differ in data. */
function makeSpaces(mode: PagingMode): [Space, Space] {
  const [first, second] = [0, 1].map((i): Space => {
    const tables = new PageTables(mode, AT.tables + i * SPACE_PAGES * PAGE);
    mapSpace(tables, i * 5);
    assert(tables.end <= AT.tables + (i + 1) * SPACE_PAGES * PAGE, "a space has room");
    return { tables, satp: satp(mode, tables.root) };
  });
  assert(first !== undefined && second !== undefined, "there are two");
  return [first, second];
}

function mapSpace(tables: PageTables, shift: number): void {
  for (let page = AT.tables; page < AT.tables + 2 * SPACE_PAGES * PAGE; page += PAGE) {
    const at = VIRTUAL.tables + BigInt(page - AT.tables);
    tables.map(at, page, RW | PTE.A | PTE.D);
    tables.map(at + USER_ALIAS, page, RW | PTE.U);
  }
  for (let i = 0; i < CODE_PAGES; i++) {
    const offset = BigInt(i * PAGE);
    const physical = AT.code + i * PAGE;
    tables.map(VIRTUAL.code + offset, physical, PTE.V | PTE.R | PTE.X);
    tables.map(VIRTUAL.code + USER_ALIAS + offset, physical, PTE.V | PTE.X | PTE.U);
    tables.map(VIRTUAL.rewrite + offset, physical, RW);
    tables.map(VIRTUAL.rewrite + USER_ALIAS + offset, physical, RW | PTE.U);
  }
  for (let i = 0; i < DATA_PAGES; i++) {
    const physical = AT.data + ((i + shift) % DATA_PAGES) * PAGE;
    const flags = RIGHTS[i % RIGHTS.length] ?? RW;
    tables.map(VIRTUAL.data + BigInt(i * PAGE), physical, flags | (i % 3 === 1 ? PTE.U : 0));
  }
  // The same table once more, 2 MiB above.
  tables.entryOf(VIRTUAL.data + DATA_ALIAS, 1, (table, index) => {
    table[index] = pte(tables.tableOf(VIRTUAL.data), PTE.V);
  });
}

function emitBoot(a: Assembler, space: Space): void {
  a.la(t0, "handler");
  a.csr("csrrw", zero, "mtvec", t0);
  a.li(t0, (1n << 61n) | (1n << 7n));
  a.csr("csrrw", zero, "menvcfg", t0);
  a.li(t0, 1 << 7);
  a.csr("csrrw", zero, "senvcfg", t0);
  a.csr("csrrwi", zero, "mcounteren", 7);
  a.csr("csrrwi", zero, "scounteren", 7);
  a.li(t0, space.satp);
  a.csr("csrrw", zero, "satp", t0);
  a.li(t0, (1 << 11) | (1 << 13));
  a.csr("csrrw", zero, "mstatus", t0);
  a.li(t0, VIRTUAL.code);
  a.csr("csrrw", zero, "mepc", t0);
  a.plain("mret");
}

function emitHandler(a: Assembler, spaces: readonly Space[]): void {
  a.org(AT.handler - BASE);
  a.label("handler");
  a.csr("csrrs", s10, "mcause", zero);
  a.i("slli", s11, s11, 1);
  a.r("add", s11, s11, s10);
  a.csr("csrrs", s9, "mtval", zero);
  a.r("xor", s11, s11, s9);
  a.i("addi", s9, s10, -12);
  a.branch("beq", s9, zero, "lost");
  a.i("addi", s9, s10, -1);
  a.branch("beq", s9, zero, "lost");
  a.i("andi", s10, s10, -2);
  a.i("addi", s10, s10, -8);
  a.branch("bne", s10, zero, "skip");
  a.branch("beq", a7, zero, "set satp");
  a.i("addi", s10, a7, -REQUEST.mode);
  a.branch("beq", s10, zero, "change mode");
  a.i("addi", s10, a7, -REQUEST.status);
  a.branch("beq", s10, zero, "set status");
  restoreTables(a, spaces);
  a.jal(zero, "skip");
  a.label("set satp");
  a.csr("csrrw", zero, "satp", a0);
  a.jal(zero, "skip");
  a.label("set status");
  a.csr("csrrs", s10, "mstatus", zero);
  a.r("xor", s10, s10, a0);
  a.csr("csrrw", zero, "mstatus", s10);
  a.jal(zero, "skip");
  a.label("change mode");
  a.csr("csrrs", s10, "mstatus", zero);
  a.li(s9, 1 << 11);
  a.r("xor", s10, s10, s9);
  a.csr("csrrw", zero, "mstatus", s10);
  a.csr("csrrs", s10, "mepc", zero);
  a.li(s9, USER_ALIAS);
  a.r("xor", s10, s10, s9);
  a.csr("csrrw", zero, "mepc", s10);
  a.label("skip");
  a.csr("csrrs", s10, "mepc", zero);
  a.i("addi", s10, s10, 4);
  a.csr("csrrw", zero, "mepc", s10);
  a.plain("mret");
  a.label("lost");
  a.jal(zero, "lost");
}

/** Puts the entries for data back as they were at the start. */
function restoreTables(a: Assembler, spaces: readonly Space[]): void {
  for (const [i, { tables }] of spaces.entries()) {
    a.li(s9, AT.pristine + i * PAGE);
    a.li(s10, tables.tableOf(VIRTUAL.data));
    a.li(t2, AT.pristine + i * PAGE + 16 * 8);
    a.label(`copy${i}`);
    a.i("ld", t1, s9, 0);
    a.store("sd", t1, s10, 0);
    a.i("addi", s9, s9, 8);
    a.i("addi", s10, s10, 8);
    a.branch("bne", s9, t2, `copy${i}`);
  }
}

/** Emits the random operations. */
class Generator {
  readonly #a: Assembler;
  readonly #random: Prng;
  readonly #spaces: readonly Space[];
  #user = false;
  #slots = 0;

  constructor(a: Assembler, random: Prng, spaces: readonly Space[]) {
    this.#a = a;
    this.#random = random;
    this.#spaces = spaces;
  }

  emit(operations: number): void {
    const a = this.#a;
    a.org(AT.code - BASE);
    a.label("start");
    for (let i = 0; i < operations; i++) {
      if (this.#random.oneIn(3)) a.cNop();
      this.#operation();
    }
    if (this.#user) this.#changeMode();
    this.#request(REQUEST.restore, 0n);
    a.jal(zero, "start");
  }

  #operation(): void {
    const a = this.#a;
    const random = this.#random;
    switch (random.below(16)) {
      case 0:
      case 1:
        this.#dataAddress(7);
        return a.i(random.pick(LOADS), this.#register(), t0, 0);
      case 2:
      case 3:
        this.#dataAddress(7);
        return a.store(random.pick(STORES), this.#register(), t0, 0);
      case 4:
        this.#dataAddress(0);
        return a.r(random.pick(AMOS), this.#register(), t0, this.#register());
      case 5:
        this.#dataAddress(0);
        a.r("lr.d", this.#register(), t0, zero);
        a.r("sc.d", this.#register(), t0, this.#register());
        return;
      case 6:
        this.#dataAddress(63);
        return a.zeroBlock(t0);
      case 7:
      case 8:
        return this.#changeEntry();
      case 9:
        return this.#clearBits();
      case 10:
        return this.#rewriteCode();
      case 11:
        return this.#changeContext();
      case 12:
        return this.#accessAround();
      case 13:
        return this.#moveCode();
      case 14:
        a.csr("csrrs", this.#register(), random.pick(["cycle", "time", "instret"]), zero);
        return;
      default:
        a.r(random.pick(["add", "xor", "mul", "sub"]), this.#register(), this.#register(), a1);
        a.i("addi", a1, a1, random.below(2048));
    }
  }

  #register(): number {
    return this.#random.pick(DATA_REGISTERS);
  }

  #alias(address: bigint): bigint {
    return this.#user ? address + USER_ALIAS : address;
  }

  /** t0 = somewhere in the data window, often near a page's end; `slack` of misalignment. */
  #dataAddress(slack: number): void {
    const random = this.#random;
    const page = random.below(DATA_PAGES);
    const offset = random.oneIn(3) ? PAGE - 8 : random.below(PAGE / 8) * 8;
    const window = VIRTUAL.data + (random.oneIn(3) ? DATA_ALIAS : 0n);
    this.#a.li(t0, window + BigInt(page * PAGE + offset + random.below(slack + 1)));
  }

  /** t0 = an entry's place in the window onto the tables. */
  #entryAddress(space: Space, virtual: bigint): void {
    const at = space.tables.entryOf(virtual) - AT.tables;
    this.#a.li(t0, this.#alias(VIRTUAL.tables + BigInt(at)));
  }

  #dataPage(): bigint {
    return VIRTUAL.data + BigInt(this.#random.below(DATA_PAGES) * PAGE);
  }

  /** A data page goes elsewhere, loses rights, or becomes a view of the table that maps it. */
  #changeEntry(): void {
    const a = this.#a;
    const random = this.#random;
    const space = random.pick(this.#spaces);
    const virtual = this.#dataPage();
    const [window, other] = random.oneIn(2) ? [0n, DATA_ALIAS] : [DATA_ALIAS, 0n];
    if (random.oneIn(2)) {
      a.li(t2, virtual + other);
      a.i("ld", this.#register(), t2, 0);
    }
    a.li(t2, virtual + window);
    a.i("ld", this.#register(), t2, 0);
    a.store("sb", this.#register(), t2, 1);
    this.#entryAddress(space, virtual);
    const target = random.oneIn(4)
      ? random.pick(this.#spaces).tables.tableOf(VIRTUAL.data)
      : AT.data + random.below(DATA_PAGES) * PAGE;
    const rights = random.pick([RW, RW, RW | PTE.A | PTE.D, PTE.V | PTE.R, PTE.V | PTE.X, 0]);
    a.li(t1, pte(target, rights | (random.oneIn(2) ? PTE.U : 0)));
    a.store(random.oneIn(4) ? "sw" : "sd", t1, t0, 0);
    a.i("ld", this.#register(), t2, 0);
    a.store("sb", this.#register(), t2, 1);
  }

  /** A and D bits go, of data, of the window itself or of the code that runs. */
  #clearBits(): void {
    const a = this.#a;
    const random = this.#random;
    const page = BigInt(random.below(CODE_PAGES) * PAGE);
    const virtual = random.pick([
      this.#dataPage(),
      this.#alias(VIRTUAL.code) + page,
      this.#alias(VIRTUAL.rewrite) + page,
      this.#alias(VIRTUAL.tables) + page,
    ]);
    this.#entryAddress(random.pick(this.#spaces), virtual);
    a.li(t1, ~BigInt(random.pick([PTE.A, PTE.D, PTE.A | PTE.D])));
    a.r("amoand.d", t2, t0, t1);
  }

  /** The next instruction, or one after it, becomes another, through a writable mapping. */
  #rewriteCode(): void {
    const a = this.#a;
    const random = this.#random;
    const slot = `slot${this.#slots++}`;
    // t0 = pc-relative address of the slot, moved from the code mapping to the writable one.
    a.la(t0, slot);
    a.li(t1, VIRTUAL.rewrite - VIRTUAL.code);
    a.r("add", t0, t0, t1);
    // addi rd, rd, imm
    const rd = this.#register();
    a.li(t1, (random.below(2048) << 20) | (rd << 15) | (rd << 7) | 0x13);
    a.store(random.oneIn(3) ? "sh" : "sw", t1, t0, 0);
    if (random.oneIn(2)) a.plain("nop");
    if (random.oneIn(4)) a.plain("fence.i");
    a.label(slot);
    a.plain("nop");
  }

  /** The same load and store before and after something decides anew on whether they may be. */
  #accessAround(): void {
    const a = this.#a;
    this.#dataAddress(0);
    for (const round of [0, 1]) {
      a.i("lw", this.#register(), t0, 0);
      a.store("sw", this.#register(), t0, 0);
      if (round === 0) this.#request(REQUEST.status, BigInt(this.#random.pick([SUM, MXR])));
    }
  }

  /** A page of code comes from its copy, or from the original again: often the one that runs. */
  #moveCode(): void {
    const a = this.#a;
    const random = this.#random;
    const here = Math.floor((a.here - AT.code) / PAGE);
    const page = random.oneIn(2) ? here : random.below(CODE_PAGES);
    this.#entryAddress(random.pick(this.#spaces), this.#alias(VIRTUAL.code) + BigInt(page * PAGE));
    const flags = PTE.V | PTE.R | PTE.X | (this.#user ? PTE.U : 0);
    a.li(t1, pte(random.pick([AT.code, AT.copy]) + page * PAGE, flags));
    a.store("sd", t1, t0, 0);
  }

  #changeContext(): void {
    switch (this.#random.below(5)) {
      case 0:
      case 1:
        return this.#request(REQUEST.satp, this.#anySpace());
      case 2:
        return this.#changeMode();
      case 3:
        return this.#request(REQUEST.status, BigInt(this.#random.pick([SUM, MXR])));
      default:
        this.#a.r("sfence.vma", zero, zero, zero);
    }
  }

  /** One of the spaces under one of more names than the machine keeps translations for. */
  #anySpace(): bigint {
    const name = BigInt(this.#random.below(CONTEXT_NAMES));
    return this.#random.pick(this.#spaces).satp | (name << 44n);
  }

  #changeMode(): void {
    this.#request(REQUEST.mode, 0n);
    this.#user = !this.#user;
  }

  #request(request: number, argument: bigint): void {
    this.#a.li(a7, request);
    this.#a.li(a0, argument);
    this.#a.plain("ecall");
  }
}
