import path from "node:path";
import { describe, expect, test } from "vitest";
import { checkManifest, checkModules } from "./tidy/modules.ts";
import { checkPurity } from "./tidy/purity.ts";
import { checkErrorCodes, checkRuleIds } from "./tidy/registers.ts";
import { checkSize } from "./tidy/size.ts";
import { type Finding, parseSource, type Source } from "./tidy/source.ts";
import { checkWorkspace, formatFinding, parseManifest } from "./tidy/workspace.ts";

const MACHINE = "packages/machine/src/sample.ts";

type Check = (source: Source) => Finding[];

/** The rules that `check` finds broken, with their lines. */
function broken(check: Check, text: string, file = MACHINE): string[] {
  return check(parseSource(file, text)).map(({ rule, line }) => `${rule}:${line}`);
}

test("the workspace is tidy", () => {
  const findings = checkWorkspace(path.dirname(import.meta.dirname));
  expect(findings.filter(({ level }) => level === "fail").map(formatFinding)).toEqual([]);
});

test("a finding reads as file:line rule: what to do", () => {
  const finding = { level: "note", file: "a.ts", line: 3, rule: "r", message: "do this" } as const;
  expect(formatFinding(finding)).toBe("a.ts:3 r (note): do this");
});

describe("purity", () => {
  test.each([
    ['import fs from "node:fs";', 1],
    ["const t = 1;\nconst now = Date.now();", 2],
    ["const t = performance.now();", 1],
    ["const r = Math.random();", 1],
    ["setTimeout(() => 1, 5);", 1],
    ["const wait = setTimeout;", 1],
    ['console.log("x");', 1],
    ["const size = process.argv.length;", 1],
    ["const x = { now: Date.now };", 1],
    ["async function f() {}", 1],
    ["const f = async () => 1;", 1],
    ["class A { async m() {} }", 1],
    ["const p = Promise.resolve(1);", 1],
    ['const m = import("./x.ts");', 1],
  ])("refuses %j in pure code", (text, line) => {
    expect(broken(checkPurity, text)).toContain(`purity:${line}`);
  });

  test.each([
    "const steps = Math.floor(2.5);",
    "const o = { Date: 1, console: 2 }; const d = o.Date + o.console;",
    "class Queue { process(): void {} }",
    "function process(): void {}\nprocess();",
    "const { console, list: [fetch] } = board;\nuse(console, fetch);",
    "function f(console: number, fetch = 1, ...process: number[]) { g(console, fetch, process); }",
    "interface Log { console: string; }",
    "// Date.now and Math.random are not used here",
    'const text = "setTimeout";',
  ])("accepts %j", (text) => {
    expect(broken(checkPurity, text)).toEqual([]);
  });

  test("holds for sessions of every package, not for drivers and tests", () => {
    const text = "const now = Date.now();";
    const files = ["source-session.ts", "driver/clock.ts", "clock.test.ts"];
    const counts = files.map((name) => {
      const file = `packages/source-agent/src/${name}`;
      return broken(checkPurity, text, file).length;
    });
    expect(counts).toEqual([1, 0, 0]);
    expect(broken(checkPurity, text, "packages/machine/src/a.test.ts")).toEqual([]);
    expect(broken(checkPurity, text, "packages/machine/src/test-support/a.ts")).toEqual([]);
  });
});

describe("modules", () => {
  test("an import against the arrows is refused", () => {
    const text = 'import { x } from "@dejavm/machine";';
    expect(broken(checkModules, text, "packages/base/src/a.ts")).toEqual(["arrows:1"]);
    expect(broken(checkModules, text, "packages/cli/src/a.ts")).toEqual([]);
    expect(broken(checkModules, text, "packages/machine/src/a.test.ts")).toEqual([]);
  });

  test("a dependency against the arrows is refused", () => {
    const json = JSON.stringify({ dependencies: { "@dejavm/cli": "workspace:*", ws: "^8" } });
    const manifest = parseManifest("packages/base/package.json", json);
    expect(checkManifest(manifest).map(formatFinding)).toEqual([
      "packages/base/package.json:1 arrows: packages/base may not use @dejavm/cli: " +
        "turn the arrow round or move the code (ARROWS in tools/tidy/modules.ts)",
    ]);
    expect(checkManifest(parseManifest("packages/cli/package.json", json))).toEqual([]);
  });

  test.each([
    ['import { x } from "@dejavm/base/src/x.ts";', "deep-import:1"],
    ['import { x } from "../../base/src/x.ts";', "deep-import:1"],
    ['export { x } from "../../base/src/x.ts";', "deep-import:1"],
    ['import { x } from "./index.ts";', "index-import:1"],
    ['\nexport * from "./x.ts";', "export-star:2"],
    ['export * as all from "./x.ts";', "export-star:1"],
    ["export default 1;", "default-export:1"],
    ["const x = 1;\nexport { x as default };", "default-export:2"],
  ])("refuses %j", (text, expected) => {
    expect(broken(checkModules, text)).toEqual([expected]);
  });

  test("configuration files may have the default export that their tool wants", () => {
    expect(broken(checkModules, "export default {};", "vitest.config.ts")).toEqual([]);
  });

  test("an exported declaration needs a doc comment of its own", () => {
    const text = [
      "/** A file header is not the comment of what follows after a blank line. */",
      'import { a } from "./a.ts";',
      "export const b = a;",
      "",
      "// Not a doc comment.",
      "export interface C {}",
    ].join("\n");
    expect(broken(checkModules, text)).toEqual(["doc-comment:3", "doc-comment:6"]);
    expect(broken(checkModules, text, "packages/machine/src/a.test.ts")).toEqual([]);
  });

  test("constants of a specification need none", () => {
    const text = "export const IER_MASK = 0x0f;";
    expect(broken(checkModules, text, "packages/machine/src/device/uart/wire.ts")).toEqual([]);
  });

  test("exports that stand together share the comment of the first", () => {
    const together = "/** Sizes in bytes. */\nexport const a = 1;\nexport const b = 2;";
    expect(broken(checkModules, together)).toEqual([]);
    expect(broken(checkModules, `${together}\n\nexport const c = 3;`)).toEqual(["doc-comment:5"]);
  });
});

describe("size", () => {
  const lines = (count: number): string => "const x = 1;\n".repeat(count);
  const levels = (text: string): string[] =>
    checkSize(parseSource(MACHINE, text)).map(({ rule, level }) => `${rule} ${level}`);

  test("a file is noted above 500 lines and refused above 1000", () => {
    expect(levels(lines(500))).toEqual([]);
    expect(levels(lines(501))).toEqual(["file-size note"]);
    expect(levels(lines(1000))).toEqual(["file-size note"]);
    expect(levels(lines(1001))).toEqual(["file-size fail"]);
  });

  test("a function is noted above 70 lines and refused above 140", () => {
    const body = (count: number): string => `function f() {\n${lines(count - 2)}}\n`;
    expect(levels(body(70))).toEqual([]);
    expect(levels(body(71))).toEqual(["function-size note"]);
    expect(levels(body(140))).toEqual(["function-size note"]);
    expect(levels(body(141))).toEqual(["function-size fail"]);
  });

  test("a group of tests may be long, a test may not", () => {
    expect(levels(`describe("x", () => {\n${lines(200)}});`)).toEqual([]);
    expect(levels(`test("x", () => {\n${lines(200)}});`)).toEqual(["function-size fail"]);
  });

  test("instruction tables may be long", () => {
    const source = parseSource("packages/machine/src/isa/integer.ts", lines(2000));
    expect(checkSize(source)).toEqual([]);
  });

  test("a line has at most 100 columns, counted in characters", () => {
    expect(levels(`// ${"é".repeat(97)}`)).toEqual([]);
    expect(levels(`// ${"é".repeat(98)}`)).toEqual(["columns fail"]);
  });
});

describe("registers", () => {
  const errors = "| code | meaning | what to do |\n|---|---|---|\n| `E_KNOWN` | x | y |\n";
  const compare = (text: string, table = errors, file = MACHINE): string[] =>
    checkErrorCodes([parseSource(file, text)], [], table).map(formatFinding);

  test("a code in the program has a row in docs/errors.md", () => {
    expect(compare('fail("E_KNOWN");')).toEqual([]);
    expect(compare('fail("E_KNOWN");\nsay(`E_OTHER ${x}`);')).toEqual([
      `${MACHINE}:2 error-code: E_OTHER has no row in docs/errors.md: add one`,
    ]);
  });

  test("a row has a code in the program, not only in a test", () => {
    const expected = ["docs/errors.md:3 error-code: nothing uses E_KNOWN: remove its row"];
    expect(compare("const E_KNOWN = 1;")).toEqual(expected);
    expect(compare('"E_KNOWN";', errors, "packages/machine/src/a.test.ts")).toEqual(expected);
  });

  test("a code has one row", () => {
    expect(compare('"E_KNOWN";', `${errors}| \`E_KNOWN\` | z | z |\n`)).toEqual([
      "docs/errors.md:4 error-code: E_KNOWN has two rows: merge them",
    ]);
  });

  test("shell scripts count, their comments do not", () => {
    const script = { path: "dejavm", text: "# E_COMMENT\necho E_KNOWN\n" };
    expect(checkErrorCodes([], [script], errors)).toEqual([]);
  });

  test("a rule id in a test's title exists in docs/SPEC.md", () => {
    const title = parseSource("test/a.test.ts", 'test("[TA3] refuses", () => {});\nx("[TA9]");');
    expect(checkRuleIds([title], "- **[TA3]** A cutover is refused.")).toEqual([]);
    expect(checkRuleIds([title], "- **[TA4]** Another.").map(formatFinding)).toEqual([
      "test/a.test.ts:1 spec-rule: docs/SPEC.md has no rule [TA3]: add it or correct the id",
    ]);
  });
});
