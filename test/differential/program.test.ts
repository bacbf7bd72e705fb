/** The generator's own promises; what the programs do is tried in differential.slow.test.ts. */
import { describe, expect, test } from "vitest";
import { Assembler } from "./assembler.ts";
import { REGION_BASE, REGION_BYTES } from "./layout.ts";
import { minimise } from "./minimise.ts";
import { buildProgram, planProgram, UNIT_NAMES } from "./program.ts";

function assembled(write: (asm: Assembler) => void): number[] {
  const bytes = new Uint8Array(64);
  const asm = new Assembler(REGION_BASE, bytes);
  write(asm);
  asm.finish();
  const view = new DataView(bytes.buffer);
  const count = (asm.here - REGION_BASE) / 4;
  return Array.from({ length: count }, (_, index) => view.getUint32(4 * index, true));
}

describe("the generator", () => {
  test("gives equal programs for equal plans, other ones for other seeds", () => {
    const one = buildProgram(planProgram(7));
    expect(buildProgram(planProgram(7)).image).toEqual(one.image);
    expect(buildProgram(planProgram(8)).image).not.toEqual(one.image);
    expect(one.image).toHaveLength(REGION_BYTES);
  });

  test("uses every kind of unit", () => {
    const seen = new Set<string>();
    for (let seed = 0; seed < 20; seed++) {
      for (const { name } of planProgram(seed).units) seen.add(name);
    }
    expect([...seen].toSorted()).toEqual([...UNIT_NAMES].toSorted());
  });

  test("keeps a unit's own choices when others are dropped", () => {
    const plan = planProgram(3, ["counter"]);
    const all = buildProgram(plan).lines.map(({ text }) => text);
    const last = plan.units.slice(-1);
    const alone = buildProgram({ ...plan, units: last }).lines.map(({ text }) => text);
    expect(all.slice(all.indexOf(alone[0] ?? ""), all.indexOf(alone[0] ?? "") + 5)).toEqual(
      alone.slice(0, 5),
    );
  });
});

describe("the assembler", () => {
  test("resolves branches forwards and backwards", () => {
    const words = assembled((asm) => {
      const [back, forth] = [asm.label(), asm.label()];
      asm.bind(back);
      asm.branch(0, 1, 2, forth, "beq");
      asm.jump(0, back);
      asm.bind(forth);
    });
    // beq x1, x2, +8; jal x0, -4
    expect(words).toEqual([0x0020_8463, 0xffdf_f06f]);
  });

  test("loads any constant", () => {
    // addi x5, x0, -1; then lui and addiw for 0x12345fff, whose low part is negative
    expect(assembled((asm) => asm.load(5, -1n))).toEqual([0xfff0_0293]);
    expect(assembled((asm) => asm.load(5, 0x1234_5fffn))).toEqual([0x1234_62b7, 0xfff2_829b]);
  });
});

describe("minimise", () => {
  test("finds the two units that fail together", async () => {
    const plan = planProgram(1);
    const guilty = [plan.units[5], plan.units[40]];
    const small = await minimise(plan, async ({ units }) =>
      guilty.every((unit) => unit !== undefined && units.includes(unit)),
    );
    expect(small.units).toEqual(guilty);
    expect(small.passes).toBe(1);
  });
});
