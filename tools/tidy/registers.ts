/**
 * Rules `error-code` and `spec-rule`: the codes in the program and docs/errors.md list each other,
 * and test titles name only rules that docs/SPEC.md has.
 */
import { Visitor } from "oxc-parser";
import type { Finding, Source } from "./source.ts";

const ERRORS_FILE = "docs/errors.md";
const SPEC_FILE = "docs/SPEC.md";
const CODE = /(?<![A-Za-z0-9_])E_[A-Z0-9_]*[A-Z0-9]/gu;
/** A row of the table in docs/errors.md: `| `E_CODE` | meaning | what to do |`. */
const CODE_ROW = /^\|\s*`(?<code>E_[A-Z0-9_]+)`\s*\|/u;
const RULE_ID = /\[(?<id>[A-Z]{2,3}[0-9]+)\]/gu;

/** A text file that is not TypeScript: documentation or a shell script. */
export interface TextFile {
  /** Relative to the workspace's root. */
  readonly path: string;
  readonly text: string;
}

interface Use {
  readonly name: string;
  readonly file: string;
  readonly line: number;
}

/** Compares the codes that sources and `scripts` use with the rows of docs/errors.md. */
export function checkErrorCodes(
  sources: readonly Source[],
  scripts: readonly TextFile[],
  errors: string,
): Finding[] {
  const uses = [
    ...sources.filter(({ role }) => role === "source").flatMap(codesInStrings),
    ...scripts.flatMap(codesInScript),
  ];
  const rows = errors.split("\n").flatMap((text, index) => {
    const name = CODE_ROW.exec(text)?.groups?.["code"];
    return name === undefined ? [] : { name, file: ERRORS_FILE, line: index + 1 };
  });
  const listed = new Set(rows.map((row) => row.name));
  const used = new Set(uses.map((use) => use.name));
  const seen = new Set<string>();
  const doubles = rows.filter(({ name }) => seen.size === seen.add(name).size);
  return [
    ...firstOfEach(uses.filter(({ name }) => !listed.has(name))).map((use) =>
      failure(use, "error-code", `${use.name} has no row in ${ERRORS_FILE}: add one`),
    ),
    ...rows
      .filter(({ name }) => !used.has(name))
      .map((row) => failure(row, "error-code", `nothing uses ${row.name}: remove its row`)),
    ...doubles.map((row) => failure(row, "error-code", `${row.name} has two rows: merge them`)),
  ];
}

/** Compares the rule ids in test titles with docs/SPEC.md. */
export function checkRuleIds(sources: readonly Source[], spec: string): Finding[] {
  const known = new Set(Array.from(spec.matchAll(RULE_ID), (match) => match.groups?.["id"]));
  const uses = sources.filter(({ role }) => role !== "source").flatMap(idsInTitles);
  return uses
    .filter(({ name }) => !known.has(name))
    .map((use) =>
      failure(use, "spec-rule", `${SPEC_FILE} has no rule [${use.name}]: add it or correct the id`),
    );
}

function failure(use: Use, rule: string, message: string): Finding {
  return { level: "fail", file: use.file, line: use.line, rule, message };
}

function firstOfEach(uses: readonly Use[]): Use[] {
  const first = new Map<string, Use>();
  for (const use of uses) if (!first.has(use.name)) first.set(use.name, use);
  return [...first.values()];
}

function codesInStrings(source: Source): Use[] {
  const uses: Use[] = [];
  const collect = (text: string, start: number): void => {
    for (const [name] of text.matchAll(CODE)) {
      uses.push({ name, file: source.path, line: source.lineAt(start) });
    }
  };
  new Visitor({
    Literal: (node) => {
      if (typeof node.value === "string") collect(node.value, node.start);
    },
    TemplateElement: (node) => collect(node.value.raw, node.start),
  }).visit(source.program);
  return uses;
}

function codesInScript(script: TextFile): Use[] {
  return script.text.split("\n").flatMap((text, index) => {
    if (text.trimStart().startsWith("#")) return [];
    return Array.from(text.matchAll(CODE), ([name]) => ({
      name,
      file: script.path,
      line: index + 1,
    }));
  });
}

function idsInTitles(source: Source): Use[] {
  const uses: Use[] = [];
  new Visitor({
    CallExpression: (node) => {
      const [title] = node.arguments;
      if (title?.type !== "Literal" && title?.type !== "TemplateLiteral") return;
      const callee = source.text.slice(node.callee.start, node.callee.end);
      if (!/^(?:test|it|describe)\b/u.test(callee)) return;
      for (const match of source.text.slice(title.start, title.end).matchAll(RULE_ID)) {
        const name = match.groups?.["id"] ?? "";
        uses.push({ name, file: source.path, line: source.lineAt(title.start) });
      }
    },
  }).visit(source.program);
  return uses;
}
