/**
 * Rules `columns`, `file-size` and `function-size`. The sizes are what a reader can hold: passing
 * the limit is noted, passing it twice fails.
 */
import { Visitor } from "oxc-parser";
import type { Finding, Source } from "./source.ts";

const COLUMNS_MAX = 100;
const FILE_LINES_MAX = 500;
const FUNCTION_LINES_MAX = 70;
const FAIL_FACTOR = 2;

/** Files whose length is that of the thing they list. */
const LONG_BY_NATURE: readonly { readonly path: RegExp; readonly reason: string }[] = [
  { path: /^packages\/machine\/src\/isa\//u, reason: "instruction tables follow the manual" },
  { path: /^packages\/machine\/src\/wasm\//u, reason: "the emitter lists WebAssembly's operators" },
];

/** Checks one file. */
export function checkSize(source: Source): Finding[] {
  const findings = checkColumns(source);
  if (LONG_BY_NATURE.some((exempt) => exempt.path.test(source.path))) return findings;
  const lineCount = source.lineAt(source.text.length - 1);
  if (lineCount > FILE_LINES_MAX) {
    findings.push({
      level: levelFor(lineCount, FILE_LINES_MAX),
      file: source.path,
      line: 1,
      rule: "file-size",
      message: `${lineCount} lines: split where the subject changes, at about ${FILE_LINES_MAX}`,
    });
  }
  return [...findings, ...checkFunctions(source)];
}

function levelFor(size: number, max: number): "fail" | "note" {
  return size > max * FAIL_FACTOR ? "fail" : "note";
}

function checkColumns(source: Source): Finding[] {
  return source.text.split("\n").flatMap((text, index) => {
    const columns = Array.from(text).length;
    if (columns <= COLUMNS_MAX) return [];
    return {
      level: "fail",
      file: source.path,
      line: index + 1,
      rule: "columns",
      message: `${columns} columns: break the line at ${COLUMNS_MAX}`,
    };
  });
}

interface FunctionNode {
  readonly start: number;
  readonly end: number;
}

function checkFunctions(source: Source): Finding[] {
  const groups = new Set<number>();
  const findings: Finding[] = [];
  const onFunction = (node: FunctionNode): void => {
    const lineCount = source.lineAt(node.end) - source.lineAt(node.start) + 1;
    if (lineCount <= FUNCTION_LINES_MAX || groups.has(node.start)) return;
    findings.push({
      level: levelFor(lineCount, FUNCTION_LINES_MAX),
      file: source.path,
      line: source.lineAt(node.start),
      rule: "function-size",
      message: `${lineCount} lines: extract pure pieces, at about ${FUNCTION_LINES_MAX}`,
    });
  };
  new Visitor({
    CallExpression: (node) => {
      // A group of tests is as long as its tests are many.
      if (!/^describe\b/u.test(source.text.slice(node.start, node.start + 9))) return;
      for (const argument of node.arguments) groups.add(argument.start);
    },
    FunctionDeclaration: (node) => {
      if (!/^register\w+Contract$/u.test(node.id?.name ?? "")) onFunction(node);
    },
    FunctionExpression: onFunction,
    ArrowFunctionExpression: onFunction,
  }).visit(source.program);
  return findings;
}
