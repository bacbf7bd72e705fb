/** The instruction table: every instruction that the hart executes, in one list. */
import type { Instruction } from "./instruction.ts";
import { RV64A } from "./rv64a.ts";
import { RV64B } from "./rv64b.ts";
import { RV64FD } from "./rv64fd.ts";
import { RV64I } from "./rv64i.ts";
import { RV64M } from "./rv64m.ts";
import { SYSTEM } from "./system.ts";

/** All of them; no two match the same word. */
export const INSTRUCTIONS: readonly Instruction[] = [
  ...RV64I,
  ...RV64M,
  ...RV64A,
  ...RV64B,
  ...RV64FD,
  ...SYSTEM,
];
