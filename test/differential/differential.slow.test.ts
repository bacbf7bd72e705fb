/** The machine against QEMU: a share of random programs with a fresh seed, and those of old. */
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { findQemu } from "../support/qemu.ts";
import { type CampaignReport, runCampaign } from "./campaign.ts";
import { compareResults } from "./compare.ts";
import { KNOWN_SEEDS } from "./known-seeds.ts";
import { DUMP, REGION_BASE } from "./layout.ts";
import { MachineSubject } from "./machine-subject.ts";
import { buildProgram, planProgram } from "./program.ts";
import { QemuSubject } from "./qemu-subject.ts";
import { describeFailure } from "./report.ts";

const INSTRUCTIONS = 2_000_000n;
const MANY_PROGRAMS = 10_000;

const qemu = await findQemu();

function explain({ failures, endless }: CampaignReport): string {
  return [...failures.map(describeFailure), ...endless.map((seed) => `${seed}: no end`)].join("\n");
}

const skipped = qemu.kind === "skipped" ? ` (skipped: ${qemu.reason})` : "";

describe.skipIf(skipped !== "")(`the machine and QEMU${skipped}`, () => {
  const subject = new MachineSubject("interpreter");
  let oracle: QemuSubject;
  beforeAll(async () => {
    if (qemu.kind === "ready") oracle = await QemuSubject.start(qemu.command);
  });
  afterAll(() => oracle.close());

  test.for([
    { engine: "interpreter", instructions: INSTRUCTIONS },
    { engine: "branches", instructions: INSTRUCTIONS / 2n },
    { engine: "jit", instructions: INSTRUCTIONS / 2n },
    { engine: "random", instructions: INSTRUCTIONS / 2n },
  ])("leave equal registers, CSRs and memory: $engine", async ({ engine, instructions }) => {
    const seed = Date.now() >>> 0;
    console.log(`differential: --seed ${seed}, engine ${engine}`);
    const report = await runCampaign({
      oracle,
      subject: new MachineSubject(engine),
      seed,
      programs: MANY_PROGRAMS,
      instructions,
      failures: 3,
      minimise: true,
    });
    console.log(`differential: ${report.programs} programs, ${report.instructions} instructions`);
    expect(explain(report)).toBe("");
    expect(report.instructions).toBeGreaterThanOrEqual(instructions);
  });

  test.for(KNOWN_SEEDS)("agree on program $seed: $found", async ({ seed }) => {
    const options = { oracle, subject, seed, programs: 1, failures: 1, minimise: false };
    expect(explain(await runCampaign(options))).toBe("");
  });

  test("a result with one bit turned over is a difference", async () => {
    const { image } = buildProgram(planProgram(1));
    const result = await oracle.run(image);
    const ram = result.ram.slice();
    const at = DUMP - REGION_BASE + 8;
    ram[at] = (ram[at] ?? 0) ^ 1;
    const changed = { name: "changed", result: { ...result, ram } };
    expect(compareResults({ name: "qemu", result }, changed)?.offset).toBe(at);
    expect(compareResults({ name: "qemu", result }, { name: "same", result })).toBeUndefined();
  });
});
