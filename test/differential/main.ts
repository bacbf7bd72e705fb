/**
 * The differential test by hand:
 * `node --conditions=source test/differential/main.ts --seed N --programs K`.
 *
 *     --seed N            seed of the first program (default: from the clock, printed)
 *     --programs K        how many programs (default 100)
 *     --instructions N    stop earlier, after so many instructions
 *     --only KIND,KIND    units of these kinds only
 *     --failures N        stop after so many failing programs (default 5)
 *     --engine NAME       how the machine executes (default interpreter)
 *     --no-minimise       report failing programs as they are
 *     --save FILE         write the first failing program's image
 */
import { writeFileSync } from "node:fs";
import { parseArgs } from "node:util";
import { findQemu } from "../support/qemu.ts";
import { runCampaign } from "./campaign.ts";
import { MachineSubject } from "./machine-subject.ts";
import { UNIT_NAMES, type UnitName } from "./program.ts";
import { QemuSubject } from "./qemu-subject.ts";
import { describeFailure } from "./report.ts";

function isUnitName(name: string): name is UnitName {
  return UNIT_NAMES.includes(name);
}

function parseKinds(text: string | undefined): UnitName[] | undefined {
  if (text === undefined) return undefined;
  return text.split(",").map((name) => {
    if (!isUnitName(name)) throw new Error(`unknown kind ${name}; known: ${UNIT_NAMES.join(", ")}`);
    return name;
  });
}

const { values } = parseArgs({
  options: {
    seed: { type: "string" },
    programs: { type: "string", default: "100" },
    instructions: { type: "string" },
    only: { type: "string" },
    failures: { type: "string", default: "5" },
    engine: { type: "string", default: "interpreter" },
    "no-minimise": { type: "boolean", default: false },
    save: { type: "string" },
  },
});

const qemu = await findQemu();
if (qemu.kind === "skipped") throw new Error(qemu.reason);
const seed = values.seed === undefined ? Date.now() >>> 0 : Number(values.seed);
console.log(`seed ${seed}, programs ${values.programs}, engine ${values.engine}`);
const oracle = await QemuSubject.start(qemu.command);
const subject = new MachineSubject(values.engine);
try {
  const report = await runCampaign({
    oracle,
    subject,
    seed,
    programs: Number(values.programs),
    ...(values.instructions === undefined ? {} : { instructions: BigInt(values.instructions) }),
    only: parseKinds(values.only),
    failures: Number(values.failures),
    minimise: !values["no-minimise"],
  });
  for (const failure of report.failures) console.log(`\n${describeFailure(failure)}`);
  const [first] = report.failures;
  if (values.save !== undefined && first !== undefined) {
    writeFileSync(values.save, first.program.image);
  }
  console.log(`\n${report.programs} programs, ${report.instructions} instructions compared`);
  if (report.endless.length > 0) console.log(`ended on neither: ${report.endless.join(", ")}`);
  console.log(
    `failing seeds: ${report.failures.map((failure) => failure.seed).join(", ") || "none"}`,
  );
  process.exitCode = report.failures.length === 0 ? 0 : 1;
} finally {
  await oracle.close();
  await subject.close();
}
