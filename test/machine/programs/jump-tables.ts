/**
 * A computed jump that goes to several places, most of them in its own page: in the next page one
 * lies at the same offset as one here, one in the middle of the other's block, and one before the
 * jump. Which place comes next looks like chance; every 32nd turn writes to the code.
 */
import { Assembler, REG } from "../support/assembler.ts";
import type { Program } from "../support/guest.ts";

const BASE = 0x8000_0000;
const PAGE = 0x1000;
/** Where the places begin that both pages have. */
const SAME = 0x200;
const PLACES = 8;
const { zero, t1, t2, s0, s1, s2, s3, s4, a0, a1, a2 } = REG;

export function jumpTableProgram(seed: number): Program {
  const a = new Assembler(BASE, 3 * PAGE);
  const places: readonly string[] = Array.from({ length: PLACES }, (_, i) => `place ${i}`);
  a.jal(zero, "start");
  place(a, "place 0", () => a.i("addi", a0, a0, 1));
  a.label("start");
  a.la(s1, "table");
  a.li(s3, 0x5851_f42d);
  a.li(s2, seed * 2 + 1);
  a.la(s4, "turn");
  a.label("turn");
  a.r("mul", s2, s2, s3);
  a.i("addi", s2, s2, 11);
  a.i("addi", s0, s0, 1);
  a.i("srli", t1, s2, 20);
  a.i("andi", t1, t1, PLACES - 1);
  a.i("slli", t1, t1, 3);
  a.r("add", t1, t1, s1);
  a.i("ld", t1, t1, 0);
  // Bit 0 of a target is cleared.
  a.i("andi", t2, s2, 1);
  a.r("add", t1, t1, t2);
  a.i("jalr", zero, t1, 0);
  place(a, "place 1", () => a.r("xor", a0, a0, s2));
  place(a, "place 2", () => {
    a.i("addi", a1, a1, 3);
    a.label("place 3");
    a.r("add", a2, a2, a1);
  });
  place(a, "place 4", () => {
    a.i("andi", t2, s0, 31);
    a.branch("bne", t2, zero, "unchanged");
    a.i("lw", t2, s4, 0);
    a.store("sw", t2, s4, 0);
    a.label("unchanged");
    a.i("addi", a2, a2, 1);
  });
  a.org(SAME);
  place(a, "place 5", () => a.i("addi", a1, a1, 5));
  a.org(PAGE + SAME);
  place(a, "place 6", () => a.i("xori", a1, a1, 0x55));
  place(a, "place 7", () => a.r("sub", a0, a0, a1));
  a.org(2 * PAGE);
  a.label("table");
  for (const name of places) a.double(BigInt(a.address(name)));
  return { name: `jump tables, seed ${seed}`, image: a.finish(), length: 20_000 };
}

/** Code that goes back to the loop; place 2 and 5 by a computed jump of their own. */
function place(a: Assembler, name: string, body: () => void): void {
  a.label(name);
  body();
  if (name === "place 2" || name === "place 5") a.i("jalr", zero, s4, 0);
  else a.jal(zero, "turn");
}
