/** Many programs on two subjects; what differs is made small. */
import { compareResults, type Difference, instructionCount } from "./compare.ts";
import { minimise } from "./minimise.ts";
import {
  buildProgram,
  type Program,
  type ProgramPlan,
  planProgram,
  type UnitName,
} from "./program.ts";
import type { Subject } from "./subject.ts";

export interface CampaignOptions {
  readonly oracle: Subject;
  readonly subject: Subject;
  /** Programs have the seeds `seed`, `seed` + 1 and so on. */
  readonly seed: number;
  /** How many programs, if `instructions` are not reached before. */
  readonly programs: number;
  /** Stops when the oracle has run so many. */
  readonly instructions?: bigint;
  /** Only units of these kinds. */
  readonly only?: readonly UnitName[] | undefined;
  /** Stops after so many failures. */
  readonly failures: number;
  /** Failing programs are made smaller. */
  readonly minimise: boolean;
}

export interface Failure {
  readonly seed: number;
  readonly program: Program;
  readonly difference: Difference;
}

export interface CampaignReport {
  readonly programs: number;
  readonly instructions: bigint;
  readonly failures: readonly Failure[];
  /** Seeds of programs that ended on neither. */
  readonly endless: readonly number[];
}

/** Compares one program; the instruction count is the oracle's. */
async function compareProgram(
  program: Program,
  { oracle, subject }: Pick<CampaignOptions, "oracle" | "subject">,
): Promise<{
  readonly difference: Difference | undefined;
  readonly instructions: bigint;
  readonly ended: boolean;
}> {
  const expected = await oracle.run(program.image);
  const found = await subject.run(program.image);
  const ended = expected.stop === "exit" || found.stop === "exit";
  const difference = ended
    ? compareResults({ name: oracle.name, result: expected }, { name: subject.name, result: found })
    : undefined;
  const instructions = expected.stop === "exit" ? instructionCount(expected.ram) : 0n;
  return { difference, instructions, ended };
}

async function reduce(plan: ProgramPlan, options: CampaignOptions): Promise<ProgramPlan> {
  return minimise(plan, async (smaller) => {
    const { difference } = await compareProgram(buildProgram(smaller), options);
    return difference !== undefined;
  });
}

/** Runs programs until one of the limits; `onProgress` is called after each. */
export async function runCampaign(
  options: CampaignOptions,
  onProgress: (report: CampaignReport) => void = () => undefined,
): Promise<CampaignReport> {
  const failures: Failure[] = [];
  const endless: number[] = [];
  let instructions = 0n;
  let programs = 0;
  while (programs < options.programs && failures.length < options.failures) {
    const seed = (options.seed + programs) >>> 0;
    const plan = planProgram(seed, options.only);
    const outcome = await compareProgram(buildProgram(plan), options);
    programs++;
    instructions += outcome.instructions;
    if (!outcome.ended) endless.push(seed);
    if (outcome.difference !== undefined) {
      const small = options.minimise ? await reduce(plan, options) : plan;
      const program = buildProgram(small);
      const { difference = outcome.difference } = await compareProgram(program, options);
      failures.push({ seed, program, difference });
    }
    onProgress({ programs, instructions, failures, endless });
    if (options.instructions !== undefined && instructions >= options.instructions) break;
  }
  return { programs, instructions, failures, endless };
}
