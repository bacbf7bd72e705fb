/** A parsed source file and what a rule answers: the vocabulary of tidy's rules. */
import path from "node:path";
import { type Comment, type EcmaScriptModule, type Program, parseSync } from "oxc-parser";

/** Something to change. `fail` fails the gate; `note` is only shown. */
export interface Finding {
  readonly level: "fail" | "note";
  /** Relative to the workspace's root. */
  readonly file: string;
  /** From 1. */
  readonly line: number;
  readonly rule: string;
  /** What is wrong and what to do. */
  readonly message: string;
}

/** What a file is there for; tests and what only they use have more freedom. */
export type Role = "source" | "test" | "test-support";

/** One TypeScript or JavaScript file. */
export interface Source {
  /** Relative to the workspace's root, with forward slashes. */
  readonly path: string;
  /** The workspace member that it belongs to: `packages/base`, `test`, `bench`; empty: the root. */
  readonly member: string;
  readonly role: Role;
  readonly text: string;
  readonly program: Program;
  readonly module: EcmaScriptModule;
  readonly comments: readonly Comment[];
  /** The line, from 1, of a text offset. */
  lineAt(offset: number): number;
}

/** Parses `text`; throws an `Error` with the place when it is not valid TypeScript. */
export function parseSource(filePath: string, text: string): Source {
  const { program, module, comments, errors } = parseSync(filePath, text);
  const [error] = errors;
  if (error !== undefined) throw new Error(`cannot parse ${filePath}: ${error.message}`);
  const lineStarts = [0];
  for (let i = text.indexOf("\n"); i >= 0; i = text.indexOf("\n", i + 1)) lineStarts.push(i + 1);
  return {
    path: filePath,
    member: memberOf(filePath),
    role: roleOf(filePath),
    text,
    program,
    module,
    comments,
    lineAt: (offset) => {
      const next = lineStarts.findIndex((start) => start > offset);
      return next < 0 ? lineStarts.length : next;
    },
  };
}

/** The workspace member that a path lies in. */
export function memberOf(filePath: string): string {
  const [first = "", second = ""] = filePath.split("/");
  if (first === "packages") return path.posix.join(first, second);
  return first === "test" || first === "bench" ? first : "";
}

function roleOf(filePath: string): Role {
  if (filePath.endsWith(".test.ts")) return "test";
  if (filePath.includes("/test-support/") || filePath.startsWith("test/")) return "test-support";
  return "source";
}
