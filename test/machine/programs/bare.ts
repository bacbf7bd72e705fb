/** M-mode programs without paging, one for each thing that an exact stop must not disturb. */
import { Assembler, REG } from "../support/assembler.ts";
import type { Program } from "../support/guest.ts";

const BASE = 0x8000_0000;
const DATA = BASE + 0x1_0000;
const UART = 0x1000_0000;
const CLINT = 0x200_0000;
const RTC = 0x10_1000;
const MTIMECMP = CLINT + 0x4000;
const MIE_MTIE = 1 << 7;
const MSTATUS_MIE = 8;
const MSTATUS_FS_INITIAL = 1 << 13;
const { zero, ra, t0, t1, t2, s0, s1, a0, a1, a2, a3, a4, a5, s2, s3, s10, s11 } = REG;

const start = (): Assembler => new Assembler(BASE, 0x2_0000);

/** Traps go to `handler`, which skips the instruction and sums up causes in s11. */
function skippingHandler(a: Assembler): void {
  a.align(4);
  a.label("handler");
  a.csr("csrrs", s10, "mcause", zero);
  a.r("add", s11, s11, s10);
  a.csr("csrrs", s10, "mtval", zero);
  a.r("xor", s11, s11, s10);
  a.csr("csrrs", s10, "mepc", zero);
  a.i("addi", s10, s10, 4);
  a.csr("csrrw", zero, "mepc", s10);
  a.plain("mret");
}

function setHandler(a: Assembler): void {
  a.la(t0, "handler");
  a.csr("csrrw", zero, "mtvec", t0);
}

/** Compressed and uncompressed, straddling pages, branches, calls across pages, misaligned data. */
function mixture(): Program {
  const a = start();
  setHandler(a);
  a.li(t0, MSTATUS_FS_INITIAL);
  a.csr("csrrs", zero, "mstatus", t0);
  a.li(s0, DATA + 0xffc);
  a.li(s1, DATA + 0x3000);
  a.li(a0, 7);
  a.jal(zero, "loop");
  skippingHandler(a);
  a.org(0xfe6);
  a.label("loop");
  a.cAddi(a0, 3);
  a.i("addi", a1, a1, 5);
  a.r("mul", a2, a0, a1);
  a.store("sd", a2, s0, 0);
  a.cNop();
  a.i("ld", a3, s0, 1);
  // The next one straddles two pages of code.
  a.r("xor", a2, a2, a3);
  a.r("amoadd.d", a4, s1, a2);
  a.r("lr.d", a5, s1, zero);
  a.r("sc.d", a5, s1, a0);
  a.i("fld", 1, s1, 0);
  a.r("fadd.d", 2, 1, 2);
  a.r("fdiv.d", 3, 2, 1);
  a.store("fsd", 3, s1, 8);
  a.jal(ra, "far");
  a.plain("ecall");
  a.word(0xffff_ffff);
  a.i("ld", a3, zero, 0);
  a.csr("csrrs", t0, "minstret", zero);
  a.csr("csrrs", t1, "mcycle", zero);
  a.csr("csrrs", t2, "time", zero);
  a.r("xor", a0, a0, t0);
  a.zeroBlock(s1);
  a.branch("beq", a0, zero, "loop");
  a.branch("bne", s1, zero, "loop");
  a.org(0x3ffa);
  a.label("far");
  a.cNop();
  a.cAddi(a1, 1);
  a.i("addi", a1, a1, 1);
  a.i("jalr", zero, ra, 0);
  return { name: "mixture", image: a.finish(), length: 500 };
}

/** The trap handler's first instruction is illegal: nothing is ever retired again. */
function trapsForEver(): Program {
  const a = start();
  setHandler(a);
  a.plain("ecall");
  a.org(0x100);
  a.label("handler");
  a.word(0xffff_ffff);
  return { name: "traps for ever", image: a.finish(), length: 100 };
}

/** The handler lies where nothing is: each fetch faults. */
function fetchFaultsForEver(): Program {
  const a = start();
  a.li(t0, 0x100);
  a.csr("csrrw", zero, "mtvec", t0);
  a.cNop();
  a.i("jalr", zero, zero, 0);
  return { name: "fetch faults for ever", image: a.finish(), length: 100 };
}

/** A timer that wakes the hart, and one that interrupts it at work. */
function timers(): Program {
  const a = start();
  setHandler(a);
  a.li(s0, MTIMECMP);
  a.li(s1, DATA);
  a.li(t0, MIE_MTIE);
  a.csr("csrrw", zero, "mie", t0);
  a.csr("csrrsi", zero, "mstatus", MSTATUS_MIE);
  a.jal(zero, "arm");
  a.label("loop");
  a.plain("wfi");
  a.i("addi", a0, a0, 1);
  a.label("arm");
  a.csr("csrrs", t0, "time", zero);
  a.i("andi", t1, a0, 3);
  a.i("addi", t1, t1, 2);
  a.r("add", t0, t0, t1);
  a.store("sd", t0, s0, 0);
  a.label("work");
  a.cAddi(a1, 1);
  a.r("amoadd.w", a2, s1, a1);
  a.i("andi", t2, a1, 7);
  a.branch("bne", t2, zero, "work");
  a.jal(zero, "loop");
  a.align(4);
  a.label("handler");
  a.cAddi(s2, 1);
  a.csr("csrrs", s3, "time", zero);
  a.r("add", s11, s11, s3);
  a.i("addi", s3, s3, 20);
  a.store("sd", s3, s0, 0);
  a.plain("mret");
  return { name: "timers and WFI", image: a.finish(), length: 500 };
}

/** Console output by the UART, its interrupt registers, the RTC and its alarm, the PLIC. */
function devices(): Program {
  const a = start();
  setHandler(a);
  a.li(s0, UART);
  a.li(s1, RTC);
  a.li(s2, 0xc00_0000);
  a.li(s3, CLINT);
  a.li(t0, 5);
  a.store("sw", t0, s2, 4 * 11);
  a.label("loop");
  a.i("addi", a0, a0, 1);
  a.i("andi", t0, a0, 63);
  a.i("addi", t0, t0, 32);
  a.store("sb", t0, s0, 0);
  a.i("lbu", t1, s0, 5);
  a.r("add", a1, a1, t1);
  a.i("lw", t0, s1, 0);
  a.i("lw", t1, s1, 4);
  a.r("xor", a1, a1, t0);
  a.li(t2, 300);
  a.r("add", t0, t0, t2);
  a.store("sw", t1, s1, 12);
  a.store("sw", t0, s1, 8);
  a.li(t2, 1);
  a.store("sw", t2, s1, 16);
  a.i("lw", t2, s1, 24);
  a.r("add", a1, a1, t2);
  a.li(t0, 0x1000);
  a.r("add", t0, t0, s2);
  a.i("lw", t2, t0, 0);
  a.r("add", a1, a1, t2);
  a.i("ld", t0, s3, 0);
  // A misaligned access to a device and one where nothing is: both fault.
  a.i("lw", t0, s0, 1);
  a.li(t0, 0x4000_0000);
  a.store("sd", t0, t0, 0);
  a.jal(zero, "loop");
  skippingHandler(a);
  return { name: "devices", image: a.finish(), length: 400 };
}

/** Code that overwrites the instruction after it, and one in another page, without fence.i. */
function selfModifying(): Program {
  const a = start();
  a.li(s1, BASE + 0x2000);
  a.label("loop");
  a.i("addi", a0, a0, 1);
  // addi a1, a1, (a0 & 255)
  a.i("andi", t0, a0, 255);
  a.i("slli", t0, t0, 20);
  a.li(t1, 0x0005_8593);
  a.r("or", t0, t0, t1);
  a.la(s0, "slot");
  a.store("sw", t0, s0, 0);
  a.label("slot");
  a.plain("nop");
  a.i("srli", t2, t0, 16);
  a.store("sh", t2, s1, 2);
  // A store over the end of one page of code into the next: c.nop, and the first half of t0.
  a.i("slli", t2, t0, 16);
  a.i("ori", t2, t2, 1);
  a.store("sw", t2, s1, -2);
  a.i("addi", s3, s1, -2);
  a.i("jalr", ra, s3, 0);
  a.jal(zero, "loop");
  a.org(0x2000 - 2);
  a.cNop();
  a.plain("nop");
  a.i("jalr", zero, ra, 0);
  return { name: "self-modifying", image: a.finish(), length: 400 };
}

/** Jumps from page to page, the last instruction of each straddling into the next. */
function pageHopper(): Program {
  const a = start();
  a.org(0);
  a.jal(zero, "page1");
  for (let page = 1; page <= 4; page++) {
    a.org(page * 0x1000 - 6);
    a.label(`page${page}`);
    a.i("addi", a0, a0, page);
    a.branch("bgeu", zero, a0, `page${page}`);
    a.jal(zero, page === 4 ? "back" : `page${page + 1}`);
  }
  a.org(0x5ffc);
  a.label("back");
  a.i("addi", a1, a1, 1);
  a.i("addi", a2, a2, 1);
  a.jal(zero, "page1");
  return { name: "page hopper", image: a.finish(), length: 200 };
}

/** Every bare program. */
export const BARE_PROGRAMS: readonly Program[] = [
  mixture(),
  trapsForEver(),
  fetchFaultsForEver(),
  timers(),
  devices(),
  selfModifying(),
  pageHopper(),
];
