/**
 * A guest that mostly waits: for its timer, for the clock's alarm, for keys. Every other round it
 * waits with interrupts switched off, as Linux does, so that it wakes without a trap. What time it
 * was when it woke goes into its registers.
 */
import { Assembler, REG } from "../support/assembler.ts";
import type { Program } from "../support/guest.ts";

const BASE = 0x8000_0000;
/** The page that the guest writes first when it woke without a trap. */
export const SCRATCH_PAGE = 3;
const SCRATCH = BASE + SCRATCH_PAGE * 4096;
const UART = 0x1000_0000;
const RTC = 0x10_1000;
const MTIMECMP = 0x200_0000 + 0x4000;
const PLIC = 0xc00_0000;
const PLIC_ENABLE = PLIC + 0x2000;
const PLIC_CLAIM = PLIC + 0x20_0004;
const UART_IRQ = 10;
const RTC_IRQ = 11;
const MIE_MTIE_MEIE = (1 << 7) | (1 << 11);
const MSTATUS_MIE = 8;
const { zero, ra, t0, t1, t2, s0, s1, a0, a1, a2, s2, s3, s4, s5, s11 } = REG;

function setUp(a: Assembler): void {
  a.la(t0, "handler");
  a.csr("csrrw", zero, "mtvec", t0);
  a.li(s0, MTIMECMP);
  a.li(s1, UART);
  a.li(s2, RTC);
  a.li(s3, PLIC_CLAIM);
  a.li(s4, SCRATCH);
  a.li(t0, PLIC);
  a.li(t1, 1);
  a.store("sw", t1, t0, 4 * UART_IRQ);
  a.store("sw", t1, t0, 4 * RTC_IRQ);
  a.li(t0, PLIC_ENABLE);
  a.li(t1, (1 << UART_IRQ) | (1 << RTC_IRQ));
  a.store("sw", t1, t0, 0);
  a.li(t1, 1);
  a.store("sb", t1, s1, 1);
  a.store("sw", t1, s2, 0x10);
  a.li(t0, MIE_MTIE_MEIE);
  a.csr("csrrw", zero, "mie", t0);
}

/** Timer and, in some rounds, alarm; then waits. */
function round(a: Assembler): void {
  a.label("round");
  a.i("addi", a0, a0, 1);
  a.csr("csrrs", t0, "time", zero);
  a.i("andi", t1, a0, 63);
  a.i("addi", t1, t1, 40);
  a.r("add", t0, t0, t1);
  a.store("sd", t0, s0, 0);
  a.i("andi", t1, a0, 3);
  a.branch("bne", t1, zero, "noalarm");
  // The alarm in 2 to 3 us: 20 to 30 ticks, so before the timer. Every other one is silent.
  a.i("srli", t0, a0, 2);
  a.i("andi", t0, t0, 1);
  a.store("sw", t0, s2, 0x10);
  a.i("lw", t0, s2, 0);
  a.i("lw", t1, s2, 4);
  a.i("andi", t2, a0, 1023);
  a.r("add", t0, t0, t2);
  a.li(t2, 2000);
  a.r("add", t0, t0, t2);
  a.store("sw", t1, s2, 0x0c);
  a.store("sw", t0, s2, 0x08);
  a.label("noalarm");
  a.i("andi", t1, a0, 1);
  a.branch("bne", t1, zero, "masked");
  a.csr("csrrsi", zero, "mstatus", MSTATUS_MIE);
  a.plain("wfi");
  a.csr("csrrci", zero, "mstatus", MSTATUS_MIE);
  a.jal(zero, "round");
  a.label("masked");
  a.plain("wfi");
  a.store("sd", a0, s4, 0);
  a.jal(ra, "service");
  a.jal(zero, "round");
}

/** Puts the timer off, notes the time, serves what the interrupt controller tells. */
function service(a: Assembler): void {
  a.label("service");
  a.csr("csrrs", t0, "time", zero);
  a.i("slli", t1, s11, 1);
  a.r("add", s11, s11, t1);
  a.r("add", s11, s11, t0);
  a.i("addi", t0, t0, 500);
  a.store("sd", t0, s0, 0);
  a.i("lw", a1, s3, 0);
  a.branch("beq", a1, zero, "served");
  a.i("addi", t0, a1, -UART_IRQ);
  a.branch("beq", t0, zero, "keys");
  a.li(t0, 1);
  a.store("sw", t0, s2, 0x1c);
  a.i("addi", s5, s5, 1);
  a.jal(zero, "complete");
  a.label("keys");
  a.i("lbu", a2, s1, 5);
  a.i("andi", a2, a2, 1);
  a.branch("beq", a2, zero, "complete");
  a.i("lbu", a2, s1, 0);
  a.store("sb", a2, s1, 0);
  a.jal(zero, "keys");
  a.label("complete");
  a.store("sw", a1, s3, 0);
  a.label("served");
  a.i("jalr", zero, ra, 0);
}

/** See the head of this file. */
export function sleeperProgram(): Program {
  const a = new Assembler(BASE, 0x1_0000);
  setUp(a);
  round(a);
  // In another page, so that waking by a trap can lack it.
  a.org(0x1000);
  a.label("handler");
  a.jal(ra, "service");
  a.plain("mret");
  a.org(0x2000);
  service(a);
  return { name: "sleeper", image: a.finish(), length: 3000 };
}
