/**
 * A vitest reporter for the end of a run: every skipped test with its reason, then one line alone
 * that machines read: `N passed, N failed, N skipped`.
 */
import type { Reporter, TestModule } from "vitest/node";

/** What became of the tests of a run. */
export interface Tally {
  readonly passed: number;
  /** Failed tests, files that could not be loaded, and errors outside any test. */
  readonly failed: number;
  /** `title: reason`, one per skipped test. */
  readonly skipped: readonly string[];
}

/** The last lines of a run's output. */
export function summaryLines(tally: Tally): string[] {
  const { passed, failed, skipped } = tally;
  const reasons = skipped.map((entry) => `skipped: ${entry}`);
  return [...reasons, `${passed} passed, ${failed} failed, ${skipped.length} skipped`];
}

/** Counts the tests of `modules`; `strayErrorCount` errors belong to no test. */
function tallyModules(modules: readonly TestModule[], strayErrorCount: number): Tally {
  let passed = 0;
  let failed = strayErrorCount;
  const skipped: string[] = [];
  for (const module of modules) {
    failed += module.errors().length;
    for (const suite of module.children.allSuites()) failed += suite.errors().length;
    for (const test of module.children.allTests()) {
      const result = test.result();
      if (result.state === "passed") passed += 1;
      else if (result.state === "failed") failed += 1;
      else skipped.push(`${test.fullName}: ${reasonOf(result)}`);
    }
  }
  return { passed, failed, skipped };
}

function reasonOf(result: { readonly state: string; readonly note?: string | undefined }): string {
  if (result.state === "pending") return "did not run to its end";
  return result.note ?? "no reason given";
}

/** Prints the summary after vitest's own; `print` gets one line at a time. */
export class PlainSummary implements Reporter {
  readonly #print: (line: string) => void;

  constructor(print: (line: string) => void) {
    this.#print = print;
  }

  onTestRunEnd(modules: readonly TestModule[], errors: readonly unknown[]): void {
    for (const line of summaryLines(tallyModules(modules, errors.length))) this.#print(line);
  }
}
