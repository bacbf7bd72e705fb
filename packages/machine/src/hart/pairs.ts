/** Pairs of instructions that one handler executes, from a profile of real programs. */
import type { FusedPair } from "./interpreter.ts";

export const FUSED_PAIRS: readonly FusedPair[] = [];
