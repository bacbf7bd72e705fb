/**
 * A leaf page table whose entry is executed as an instruction too: `addiw sp, ra, 512` while its
 * A bit is clear, illegal once a walk has set it. The hart's own write is a write to code.
 */
import { Assembler, REG } from "../support/assembler.ts";
import type { Program } from "../support/guest.ts";
import { PTE, pte, satp } from "../support/page-tables.ts";

const BASE = 0x8000_0000;
const TABLE = BASE + 0x4000;
const ENTRY = TABLE + 0x100;
const MIDDLE = BASE + 0x6000;
const ROOT = BASE + 0x7000;
const DATA = BASE + 0x2_0000;
/** The address that ENTRY maps: index 0, 0, 32. */
const VIRTUAL = 32 * 4096;
/** Bit 8 is free for software: it makes x2 the destination. */
const FLAGS = PTE.V | PTE.R | PTE.X | PTE.U | 0x100;
const MPRV = 1 << 17;
const { zero, t0, t1, t2, s0, s1, s2, s3, s10, s11 } = REG;

/** `how` sets the A bit: by a load with MPRV, a load over two pages, or a fetch in U-mode. */
function program(how: "load" | "load across pages" | "fetch"): Program {
  const a = new Assembler(BASE, 0x2_1000);
  a.la(t0, "handler");
  a.csr("csrrw", zero, "mtvec", t0);
  a.li(t0, satp("sv39", ROOT));
  a.csr("csrrw", zero, "satp", t0);
  a.li(s0, ENTRY);
  a.li(s2, VIRTUAL);
  a.li(s3, pte(DATA, FLAGS));
  a.label("loop");
  a.store("sd", s3, s0, 0);
  a.la(s1, "executed once");
  a.i("jalr", zero, s0, 0);
  a.label("executed once");
  setAccessed(a, how);
  a.label("accessed");
  a.la(s1, "executed twice");
  a.i("jalr", zero, s0, 0);
  a.label("executed twice");
  a.jal(zero, "loop");
  a.align(4);
  a.label("handler");
  a.i("slli", s11, s11, 1);
  a.csr("csrrs", s10, "mepc", zero);
  a.r("add", s11, s11, s10);
  a.csr("csrrw", zero, "mepc", s1);
  // Back in M-mode.
  a.li(t0, 3 << 11);
  a.csr("csrrs", zero, "mstatus", t0);
  a.plain("mret");
  emitTables(a);
  a.org(DATA - BASE);
  a.plain("ecall");
  return { name: `a table executed, then a ${how}`, image: a.finish(), length: 300 };
}

function setAccessed(a: Assembler, how: Parameters<typeof program>[0]): void {
  if (how === "fetch") {
    a.la(s1, "accessed");
    a.csr("csrrw", zero, "mepc", s2);
    a.li(t0, 3 << 11);
    a.csr("csrrc", zero, "mstatus", t0);
    a.plain("mret");
    return;
  }
  a.li(t0, 3 << 11);
  a.csr("csrrc", zero, "mstatus", t0);
  a.li(t1, MPRV);
  a.csr("csrrs", zero, "mstatus", t1);
  a.i("ld", t2, s2, how === "load" ? 0 : -4);
  a.csr("csrrc", zero, "mstatus", t1);
}

function emitTables(a: Assembler): void {
  a.org(ROOT - BASE);
  a.double(pte(MIDDLE, PTE.V));
  a.org(MIDDLE - BASE);
  a.double(pte(TABLE, PTE.V));
  a.org(ENTRY - BASE - 8);
  a.double(pte(DATA + 4096, FLAGS | PTE.A));
}

/** See the head of this file. */
export const EXECUTED_TABLES: readonly Program[] = [
  program("load"),
  program("load across pages"),
  program("fetch"),
];
