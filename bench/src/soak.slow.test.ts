/** A short share of memory-soak.ts: programs in turn, with room for little code. */
import { hostTool } from "@dejavm/debian";
import { DEFAULT_POLICY } from "@dejavm/machine";
import { expect, test } from "vitest";
import { type SoakSample, soak } from "./soak.ts";

const MAX_CODE_BYTES = 2 ** 19;
/** The module that is translated when the bound has not been reached yet may go beyond it. */
const LARGEST_MODULE_BYTES = 2 ** 18;
const TURNS = 2;

test("[EN4] programs in turn keep to the bound, the process does not grow", async (context) => {
  const tool = await hostTool("riscv64-linux-gnu-gcc");
  if (tool.kind === "skipped") return context.skip(tool.reason);
  const samples: SoakSample[] = [];
  await soak({
    programs: ["gzip", "sqlite3"],
    goesOn: (turns) => turns < TURNS,
    jit: { ...DEFAULT_POLICY, maxCodeBytes: MAX_CODE_BYTES },
    sampled: (sample) => samples.push(sample),
  });
  for (const { codeBytes } of samples) {
    expect(codeBytes).toBeLessThan(MAX_CODE_BYTES + LARGEST_MODULE_BYTES);
  }
  const [first, last] = [samples[samples.length / TURNS - 1], samples.at(-1)];
  expect(last?.evictions).toBeGreaterThan(0);
  expect(last?.residentBytes).toBeLessThan((first?.residentBytes ?? 0) * 1.5);
});
