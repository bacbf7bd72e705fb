/** What gets translated once it is hot, and what does not. */
import type { EngineStatistics, JitPolicy } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { Assembler, REG } from "./support/assembler.ts";
import { Guest } from "./support/guest.ts";

const BASE = 0x8000_0000;
const { zero, t0, t1, s0, s1, s2 } = REG;
const TURNS = 1000;
/** Positions that are run at a time. */
const RUN = 100;
/** mstatus.MPP as S-mode has it. */
const MPP_SUPERVISOR = 1 << 11;
const POLICY: JitPolicy = {
  heatUnit: 10,
  threshold: 20,
  supervisorThreshold: 20,
  warm: 4,
  batch: 1,
};

/** A loop of five instructions with four more in every 16th turn, in M-mode or S-mode. */
function loop(mode: "machine" | "supervisor"): Uint8Array {
  const a = new Assembler(BASE, 4096);
  if (mode === "supervisor") {
    a.li(t0, MPP_SUPERVISOR);
    a.csr("csrrw", zero, "mstatus", t0);
    a.la(t0, "turn");
    a.csr("csrrw", zero, "mepc", t0);
    a.plain("mret");
  }
  a.label("turn");
  a.i("addi", s0, s0, 1);
  a.i("andi", t0, s0, 15);
  a.branch("bne", t0, zero, "usual");
  for (let i = 0; i < 4; i++) a.i("addi", s1, s1, 1);
  a.label("usual");
  a.i("addi", s2, s2, 1);
  a.jal(zero, "turn");
  return a.finish();
}

const ARMS = 4;

/** A loop that goes to one of some places in turn by a computed jump. */
function computed(): Uint8Array {
  const a = new Assembler(BASE, 4096);
  a.la(s1, "arms");
  a.label("turn");
  a.i("addi", s0, s0, 1);
  a.i("andi", t0, s0, ARMS - 1);
  a.i("slli", t0, t0, 3);
  a.r("add", t1, t0, s1);
  a.i("jalr", zero, t1, 0);
  a.label("arms");
  for (let arm = 0; arm < ARMS; arm++) {
    a.i("addi", s2, s2, arm);
    a.jal(zero, "join");
  }
  a.label("join");
  a.i("xori", s2, s2, 1);
  a.jal(zero, "turn");
  return a.finish();
}

function statistics(image: Uint8Array, policy: Partial<JitPolicy>): EngineStatistics {
  const program = { name: "loop", image, length: TURNS * 5 };
  const guest = Guest.on({ jit: { ...POLICY, ...policy } }, program);
  // Regions are made between runs.
  for (let at = RUN; at <= program.length; at += RUN) guest.runTo(at);
  return guest.machine.statistics;
}

describe("[EN6] a region", () => {
  test("leaves out what is run seldom", () => {
    expect(statistics(loop("machine"), {})).toMatchObject({ regions: 1, instructions: 5 });
  });

  test("has all that was run, if so wanted", () => {
    expect(statistics(loop("machine"), { warm: 0 })).toMatchObject({ regions: 1, instructions: 9 });
  });

  test("has the places that its computed jump goes to", () => {
    const instructions = 5 + 2 * ARMS + 2;
    expect(statistics(computed(), {})).toMatchObject({ regions: 1, instructions });
  });
});

test("[EN6] S-mode code has a threshold of its own", () => {
  const never = Number.POSITIVE_INFINITY;
  expect(statistics(loop("supervisor"), { threshold: never }).regions).toBe(1);
  expect(statistics(loop("supervisor"), { supervisorThreshold: never }).regions).toBe(0);
});
