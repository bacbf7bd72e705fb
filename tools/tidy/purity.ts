/**
 * Rule `purity`: the machine, the trace, the protocol and every session are deterministic by
 * construction, so they may not reach for a clock, randomness, the host or the event loop.
 */
import { Visitor } from "oxc-parser";
import type { Finding, Source } from "./source.ts";

const PURE_MEMBERS = ["base", "machine", "trace", "protocol"].map((name) => `packages/${name}`);

/** Names that reach outside, and what to do instead. */
const OUTSIDE: Readonly<Record<string, string>> = {
  Date: "take the time as an argument",
  performance: "take the time as an argument",
  setTimeout: "answer a deadline and let the driver wait",
  setInterval: "answer a deadline and let the driver wait",
  setImmediate: "leave scheduling to the driver",
  queueMicrotask: "leave scheduling to the driver",
  Promise: "leave waiting to the driver",
  console: "return what happened and let the caller log it",
  process: "take it as an argument",
  globalThis: "take it as an argument",
  Buffer: "use Uint8Array",
  crypto: "take a seed or a hash function as an argument",
  fetch: "leave network access to the driver",
  WeakRef: "garbage collection is not deterministic; own the object",
  FinalizationRegistry: "garbage collection is not deterministic; own the object",
};

/** True for files that must be pure. */
function mustBePure(source: Source): boolean {
  if (source.role !== "source") return false;
  return PURE_MEMBERS.includes(source.member) || source.path.endsWith("-session.ts");
}

/** Checks one file. */
export function checkPurity(source: Source): Finding[] {
  if (!mustBePure(source)) return [];
  const findings: Finding[] = [];
  const report = (offset: number, message: string) =>
    findings.push({
      level: "fail",
      file: source.path,
      line: source.lineAt(offset),
      rule: "purity",
      message,
    });
  for (const { moduleRequest } of source.module.staticImports) {
    if (moduleRequest.value.startsWith("node:")) {
      report(moduleRequest.start, `${moduleRequest.value} is the host's: move this to a driver`);
    }
  }
  for (const { start } of source.module.dynamicImports) {
    report(start, "import() is asynchronous: import at the top");
  }
  reportAsync(source, report);
  reportOutsideNames(source, report);
  return findings;
}

type Report = (offset: number, message: string) => void;

function reportAsync(source: Source, report: Report): void {
  const message = "nothing here is asynchronous: leave waiting to the driver";
  const onFunction = (node: { readonly async: boolean; readonly start: number }): void => {
    if (node.async) report(node.start, message);
  };
  new Visitor({
    FunctionDeclaration: onFunction,
    FunctionExpression: onFunction,
    ArrowFunctionExpression: onFunction,
    AwaitExpression: (node) => report(node.start, message),
    ForOfStatement: (node) => onFunction({ async: node.await, start: node.start }),
  }).visit(source.program);
}

/**
 * Reports references to `OUTSIDE` names. A name that the file declares itself is its own; a
 * property of another object is not a reference.
 */
function reportOutsideNames(source: Source, report: Report): void {
  const declared = new Set<string>();
  const properties = new Set<number>();
  const references: { readonly name: string; readonly start: number }[] = [];
  const onKey = (node: {
    readonly computed: boolean;
    readonly key: { readonly start: number };
  }): void => {
    if (!node.computed) properties.add(node.key.start);
  };
  new Visitor({
    MemberExpression: (node) => {
      if (!node.computed) properties.add(node.property.start);
      if (/^Math\??\.random$/u.test(source.text.slice(node.start, node.end))) {
        report(node.start, "Math.random is not reproducible: take a Prng as an argument");
      }
    },
    Property: onKey,
    MethodDefinition: onKey,
    PropertyDefinition: onKey,
    TSPropertySignature: onKey,
    TSMethodSignature: onKey,
    FunctionDeclaration: (node) => {
      if (node.id !== null) declared.add(node.id.name);
    },
    VariableDeclarator: (node) => {
      if (node.id.type === "Identifier") declared.add(node.id.name);
    },
    ImportSpecifier: (node) => {
      declared.add(node.local.name);
    },
    Identifier: (node) => {
      references.push({ name: node.name, start: node.start });
    },
  }).visit(source.program);
  for (const { name, start } of references) {
    const advice = Object.hasOwn(OUTSIDE, name) ? OUTSIDE[name] : undefined;
    if (advice === undefined || declared.has(name) || properties.has(start)) continue;
    report(start, `${name} reaches outside: ${advice}`);
  }
}
