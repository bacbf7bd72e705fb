/**
 * Rule `purity`: the machine, the trace, the protocol and every session are deterministic by
 * construction, so they may not reach for a clock, randomness, the host or the event loop.
 */
import { type BindingPattern, type ParamPattern, Visitor } from "oxc-parser";
import type { Finding, Source } from "./source.ts";

const PURE_MEMBERS = ["base", "machine", "trace"].map((name) => `packages/${name}`);

/** Members that are pure but for their `src/driver/`. */
const SANS_IO_CORES = ["packages/gateway", "packages/protocol"];

/** Files that may use one of the names, as the one door to what it stands for. */
const DOORS: readonly { readonly path: string; readonly name: string; readonly reason: string }[] =
  [
    {
      path: "packages/machine/src/wasm/runtime.ts",
      name: "globalThis",
      reason: "WebAssembly is the same on every host, but only a host's type library declares it",
    },
  ];

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
  const { member, path } = source;
  if (SANS_IO_CORES.includes(member) && !path.startsWith(`${member}/src/driver/`)) return true;
  return PURE_MEMBERS.includes(member) || path.endsWith("-session.ts");
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
  const declareAll = (patterns: readonly (BindingPattern | ParamPattern)[]): void => {
    for (const name of patterns.flatMap(boundNames)) declared.add(name);
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
      declareAll(node.params);
    },
    FunctionExpression: (node) => declareAll(node.params),
    ArrowFunctionExpression: (node) => declareAll(node.params),
    VariableDeclarator: (node) => declareAll([node.id]),
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
    if (DOORS.some((door) => door.path === source.path && door.name === name)) continue;
    report(start, `${name} reaches outside: ${advice}`);
  }
}

/** The names that a parameter or a declaration binds. */
function boundNames(pattern: BindingPattern | ParamPattern): string[] {
  switch (pattern.type) {
    case "Identifier":
      return [pattern.name];
    case "AssignmentPattern":
      return boundNames(pattern.left);
    case "RestElement":
      return boundNames(pattern.argument);
    case "ArrayPattern":
      return pattern.elements.flatMap((element) => (element === null ? [] : boundNames(element)));
    case "ObjectPattern":
      return pattern.properties.flatMap((property) =>
        boundNames(property.type === "RestElement" ? property.argument : property.value),
      );
    case "TSParameterProperty":
      return boundNames(pattern.parameter);
  }
}
