/**
 * Named places between durable writes at which a test lets the process die, as if by SIGKILL:
 * DEJAVM_FAIL_POINT=gc.swept dies there the first time, gc.swept:3 the third time.
 */

/** Every place of this package. */
export const STORE_FAIL_POINTS = [
  "migration.step",
  "migration.before-commit",
  "migration.done",
  "append.before-commit",
  "append.done",
  "absorb.before-commit",
  "absorb.done",
  "tail.removed",
  "checkpoint.begun",
  "checkpoint.pages-put",
  "checkpoint.before-commit",
  "checkpoint.committed",
  "ownership.committed",
  "ownership.synced",
  "compact.before-commit",
  "compact.done",
  "retain.before-commit",
  "retain.removed",
  "gc.leftovers-dropped",
  "gc.before-commit",
  "gc.swept",
  "gc.vacuumed",
  "index.before-commit",
  "remove.before-commit",
] as const;

/** One of `STORE_FAIL_POINTS`. */
export type StoreFailPoint = (typeof STORE_FAIL_POINTS)[number];

const [wanted, count = "1"] = (process.env["DEJAVM_FAIL_POINT"] ?? "").split(":");
let left = Number(count);

/** Dies here if the environment says so. */
export function failPoint(name: StoreFailPoint): void {
  if (name !== wanted) return;
  left--;
  if (left === 0) process.kill(process.pid, "SIGKILL");
}
