/**
 * More pages of code than are kept predecoded at once. First each page is left by a jump that
 * straddles its end; then each is run through to a compressed instruction at its very end.
 */
import { Assembler, REG } from "../support/assembler.ts";
import type { Program } from "../support/guest.ts";

const BASE = 0x8000_0000;
const PAGE = 4096;
/** Even, and more than the 4,096 pages that the predecoder keeps. */
const STRADDLING = 4110;
const STRAIGHT = 4200;
/** Within a page: its own code, before the instruction at its end. */
const ENTRY = 0xffa;
const { zero, a0 } = REG;

/** See the head of this file; it ends in a loop at `end`. */
export function manyPages(): { readonly program: Program; readonly end: bigint } {
  const pages = STRADDLING + STRAIGHT + 4;
  const a = new Assembler(BASE, pages * PAGE);
  a.jal(zero, "entry 0");
  for (let page = 0; page < STRADDLING; page += 2) {
    a.org(page * PAGE + ENTRY);
    a.label(`entry ${page}`);
    a.cAddi(a0, 1);
    a.cNop();
    a.jal(zero, `entry ${page + 2}`);
  }
  for (let page = STRADDLING; page < STRADDLING + STRAIGHT; page++) {
    a.org(page * PAGE + ENTRY);
    if (page === STRADDLING) a.label(`entry ${page}`);
    a.label(`straight ${page}`);
    a.cAddi(a0, 1);
    a.cNop();
    a.cNop();
    a.jal(zero, `straight ${page + 1}`);
  }
  a.org((STRADDLING + STRAIGHT) * PAGE + ENTRY);
  a.label(`straight ${STRADDLING + STRAIGHT}`);
  a.jal(zero, `straight ${STRADDLING + STRAIGHT}`);
  const end = BigInt(a.address(`straight ${STRADDLING + STRAIGHT}`));
  const length = (STRADDLING / 2) * 3 + STRAIGHT * 4 + 2;
  return { program: { name: "many pages", image: a.finish(), length }, end };
}
