/** Makes a failing program small: fewer passes, fewer units (delta debugging, Zeller 1999). */
import type { ProgramPlan, UnitPlan } from "./program.ts";

/** True when the program of that plan still fails. */
export type StillFails = (plan: ProgramPlan) => Promise<boolean>;

async function fewerPasses(plan: ProgramPlan, fails: StillFails): Promise<ProgramPlan> {
  for (let passes = 1; passes < plan.passes; passes++) {
    const smaller = { ...plan, passes };
    if (await fails(smaller)) return smaller;
  }
  return plan;
}

async function fewerUnits(plan: ProgramPlan, fails: StillFails): Promise<ProgramPlan> {
  let units: readonly UnitPlan[] = plan.units;
  let size = Math.ceil(units.length / 2);
  while (size >= 1) {
    let dropped = false;
    for (let start = 0; start < units.length; ) {
      const rest = [...units.slice(0, start), ...units.slice(start + size)];
      if (await fails({ ...plan, units: rest })) {
        units = rest;
        dropped = true;
      } else start += size;
    }
    if (size === 1 && !dropped) break;
    size = Math.max(1, size >> 1);
    if (!dropped && size === 1 && units.length <= 1) break;
  }
  return { ...plan, units };
}

/** The smallest plan found that still fails; `plan` itself fails. */
export async function minimise(plan: ProgramPlan, fails: StillFails): Promise<ProgramPlan> {
  const once = await fewerPasses(plan, fails);
  const small = await fewerUnits(once, fails);
  return fewerPasses(small, fails);
}
