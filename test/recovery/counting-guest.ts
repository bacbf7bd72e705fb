/**
 * A bare guest that acknowledges: for each `x` typed it counts, keeps the count in memory, and
 * answers with it as four letters A (0) to P (15), highest first, and a line end. It also writes
 * to a good many pages, so that checkpoints have something to store.
 */
import { Assembler, REG } from "../machine/support/assembler.ts";

const RAM = 0x8000_0000;
const UART = 0x1000_0000;
const COUNT_AT = 0x8010_0000;
const SCRATCH_AT = 0x8020_0000;
/** The scratch pages go round. */
const SCRATCH_MASK = 0x3f_ffff;

/** The program, flat, for `--firmware`. */
export function countingGuest(): Uint8Array {
  const { t0, t1, t2, t3, t4, s0, s1, zero } = REG;
  const a = new Assembler(RAM, 4096);
  a.li(t0, UART);
  a.li(s0, COUNT_AT);
  a.label("wait");
  a.i("lbu", t1, t0, 5);
  a.li(t2, 1);
  a.r("and", t1, t1, t2);
  a.branch("beq", t1, zero, "wait");
  a.i("lbu", t1, t0, 0);
  a.i("ld", s1, s0, 0);
  a.li(t2, 1);
  a.r("add", s1, s1, t2);
  a.store("sd", s1, s0, 0);
  dirty(a);
  a.li(t2, 0x1000);
  a.label("letter");
  a.r("div", t1, s1, t2);
  a.li(t3, 15);
  a.r("and", t1, t1, t3);
  a.li(t3, 65);
  a.r("add", t1, t1, t3);
  a.store("sb", t1, t0, 0);
  a.li(t4, 16);
  a.r("div", t2, t2, t4);
  a.branch("bne", t2, zero, "letter");
  a.li(t1, 10);
  a.store("sb", t1, t0, 0);
  a.jal(zero, "wait");
  return a.finish();
}

/** The count goes to a page of its own. */
function dirty(a: Assembler): void {
  const { t1, t2, t3, s1 } = REG;
  a.li(t1, 12);
  a.r("sll", t2, s1, t1);
  a.li(t3, SCRATCH_MASK);
  a.r("and", t2, t2, t3);
  a.li(t3, SCRATCH_AT);
  a.r("add", t2, t2, t3);
  a.store("sd", s1, t2, 0);
}

/** The counts in what the guest said, as far as it was whole. */
export function countsIn(said: string): number[] {
  return [...said.matchAll(/^([A-P]{4})\n/gm)].map(([, letters]) =>
    Array.from(letters ?? "").reduce((sum, letter) => sum * 16 + letter.charCodeAt(0) - 65, 0),
  );
}
