/**
 * S-mode code that clears the A bit of a page of code and then calls into that page, again and
 * again: the fetch sets it.
 */
import { Assembler, REG } from "../support/assembler.ts";
import type { Program } from "../support/guest.ts";
import { PageTables, PTE, pte, satp } from "../support/page-tables.ts";

const BASE = 0x8000_0000;
const CALLED = BASE + 0x1000;
const TABLES = BASE + 0x4000;
const ALL = PTE.V | PTE.R | PTE.W | PTE.X | PTE.A | PTE.D;
const { zero, ra, t0, s0, s1, s2, a0 } = REG;

/** See the head of this file. */
export function accessedBits(): Program {
  const tables = new PageTables("sv39", TABLES);
  for (let page = BASE; page < BASE + 0x10_000; page += 4096) tables.map(BigInt(page), page, ALL);
  const a = new Assembler(BASE, 0x1_0000);
  a.li(t0, satp("sv39", tables.root));
  a.csr("csrrw", zero, "satp", t0);
  a.li(t0, 1 << 11);
  a.csr("csrrs", zero, "mstatus", t0);
  a.la(t0, "loop");
  a.csr("csrrw", zero, "mepc", t0);
  a.li(s0, tables.entryOf(BigInt(CALLED)));
  a.li(s1, pte(CALLED, ALL & ~PTE.A));
  a.li(s2, CALLED);
  a.plain("mret");
  a.label("loop");
  a.store("sd", s1, s0, 0);
  a.i("jalr", ra, s2, 0);
  a.jal(zero, "loop");
  a.org(CALLED - BASE);
  a.i("addi", a0, a0, 1);
  a.i("jalr", zero, ra, 0);
  tables.emit((address, bytes) => {
    a.org(address - BASE);
    a.bytes(bytes);
  });
  return { name: "clears A bits of code", image: a.finish(), length: 300 };
}
