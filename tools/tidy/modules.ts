/**
 * Rules about what may import and export what: `arrows`, `deep-import`, `index-import`,
 * `export-star`, `default-export`, `doc-comment`.
 */
import path from "node:path";
import type { Directive, ModuleDeclaration, Statement as PlainStatement } from "oxc-parser";
import type { Finding, Source } from "./source.ts";

/** A workspace member's package.json, as far as the arrows go. */
export interface Manifest {
  /** `packages/base`, `test` or `bench`. */
  readonly member: string;
  /** Names of workspace packages under `dependencies`, without `@dejavm/`. */
  readonly dependencies: readonly string[];
}

/** Which packages each package may lean on. An arrow that is not here does not exist. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  base: [],
  machine: ["base"],
  trace: ["base", "machine"],
  vm: ["base", "machine", "trace"],
  "log-store": ["base", "machine", "trace"],
  protocol: ["base", "machine", "trace"],
  gateway: ["base"],
  wan: ["base"],
  debian: ["base"],
  image: ["base", "debian"],
  "source-agent": ["base", "machine", "trace", "vm", "log-store", "protocol", "gateway", "image"],
  "target-agent": ["base", "machine", "trace", "vm", "log-store", "protocol", "gateway"],
  agent: [
    "base",
    "machine",
    "trace",
    "vm",
    "log-store",
    "protocol",
    "gateway",
    "image",
    "source-agent",
    "target-agent",
  ],
};

/** Members that may use every package. */
const TOPS = ["packages/cli", "test", "bench", ""];

const SCOPE = "@dejavm/";

type Statement = Directive | PlainStatement | ModuleDeclaration;

/** Checks one file's imports and exports. */
export function checkModules(source: Source): Finding[] {
  return [...checkImports(source), ...checkExports(source), ...checkDocComments(source)];
}

/** Checks the dependencies that a package declares. */
export function checkManifest(manifest: Manifest): Finding[] {
  return manifest.dependencies
    .filter((name) => !mayUse(manifest.member, name))
    .map((name) => ({
      level: "fail",
      file: `${manifest.member}/package.json`,
      line: 1,
      rule: "arrows",
      message: arrowMessage(manifest.member, name),
    }));
}

function mayUse(member: string, name: string): boolean {
  if (TOPS.includes(member)) return true;
  const own = member.replace("packages/", "");
  return own === name || (ARROWS[own] ?? []).includes(name);
}

function arrowMessage(member: string, name: string): string {
  const remedy = "turn the arrow round or move the code (ARROWS in tools/tidy/modules.ts)";
  return `${member} may not use ${SCOPE}${name}: ${remedy}`;
}

function checkImports(source: Source): Finding[] {
  const { staticImports, staticExports } = source.module;
  const requests = [
    ...staticImports.map((statement) => statement.moduleRequest),
    ...staticExports.flatMap(({ entries }) => entries.map((entry) => entry.moduleRequest)),
  ].filter((request) => request !== null);
  const findings: Finding[] = [];
  for (const { value, start } of requests) {
    const problem = value.startsWith(".") ? checkRelative(source, value) : checkBare(source, value);
    if (problem === undefined) continue;
    findings.push({ level: "fail", file: source.path, line: source.lineAt(start), ...problem });
  }
  return findings;
}

type Problem = Pick<Finding, "rule" | "message">;

function checkBare(source: Source, specifier: string): Problem | undefined {
  if (!specifier.startsWith(SCOPE)) return undefined;
  const [name = "", ...inner] = specifier.slice(SCOPE.length).split("/");
  if (inner.length > 0) {
    return {
      rule: "deep-import",
      message: `import ${SCOPE}${name} and export what you need from its index.ts`,
    };
  }
  if (source.role !== "source" || mayUse(source.member, name)) return undefined;
  return { rule: "arrows", message: arrowMessage(source.member, name) };
}

function checkRelative(source: Source, specifier: string): Problem | undefined {
  const target = path.posix.join(path.posix.dirname(source.path), specifier);
  if (source.member !== "" && !target.startsWith(`${source.member}/`)) {
    return {
      rule: "deep-import",
      message: `${specifier} leaves ${source.member}: import the other package by name`,
    };
  }
  if (source.member !== "" && target === `${source.member}/src/index.ts`) {
    return {
      rule: "index-import",
      message: "index.ts is the face to the outside: import the file that defines it",
    };
  }
  return undefined;
}

function checkExports(source: Source): Finding[] {
  const findings: Finding[] = [];
  const report = (offset: number, rule: string, message: string) =>
    findings.push({ level: "fail", file: source.path, line: source.lineAt(offset), rule, message });
  for (const node of source.program.body) {
    if (node.type === "ExportAllDeclaration") {
      report(node.start, "export-star", "name what is exported");
    }
    if (exportsDefault(node) && !isConfiguration(source.path)) {
      report(node.start, "default-export", "give it a name and export that");
    }
  }
  return findings;
}

function exportsDefault(node: Statement): boolean {
  if (node.type === "ExportDefaultDeclaration") return true;
  if (node.type !== "ExportNamedDeclaration") return false;
  return node.specifiers.some(
    ({ exported }) => exported.type === "Identifier" && exported.name === "default",
  );
}

/** Files whose tool wants a default export. */
function isConfiguration(filePath: string): boolean {
  return filePath.endsWith(".config.ts") || filePath === "knip.ts";
}

/** Files whose names speak for themselves. */
const SELF_EXPLAINING: readonly { readonly path: RegExp; readonly reason: string }[] = [
  { path: /\/wasm\/expr\.ts$/u, reason: "each is one operator of WebAssembly" },
  { path: /\/wire\.ts$/u, reason: "each is named and specified by what the file's header cites" },
];

/**
 * Every exported declaration says what it is. Overloads, and declarations that stand together
 * without a blank line, share the comment of the first.
 */
function checkDocComments(source: Source): Finding[] {
  if (source.role !== "source" || isConfiguration(source.path)) return [];
  if (SELF_EXPLAINING.some((exempt) => exempt.path.test(source.path))) return [];
  const findings: Finding[] = [];
  let familyEnd = -1;
  for (const node of source.program.body) {
    if (node.type !== "ExportNamedDeclaration" || !node.declaration) continue;
    const joins = familyEnd >= 0 && /^\n?$/u.test(source.text.slice(familyEnd, node.start));
    if (joins || hasDocComment(source, node.start)) {
      familyEnd = node.end;
      continue;
    }
    familyEnd = -1;
    findings.push({
      level: "fail",
      file: source.path,
      line: source.lineAt(node.start),
      rule: "doc-comment",
      message: `say in /** */ what ${declaredName(node.declaration)} is: units, ranges, errors`,
    });
  }
  return findings;
}

interface Declaration {
  readonly type: string;
  readonly id?: unknown;
  readonly declarations?: readonly { readonly id: unknown }[];
}

function declaredName(declaration: Declaration): string {
  const id = declaration.id ?? declaration.declarations?.[0]?.id;
  const named = typeof id === "object" && id !== null && "name" in id ? id.name : undefined;
  return typeof named === "string" ? named : declaration.type;
}

function hasDocComment(source: Source, offset: number): boolean {
  const before = source.comments.findLast((comment) => comment.end <= offset);
  if (before?.type !== "Block" || !before.value.startsWith("*")) return false;
  return source.text.slice(before.end, offset).trim() === "";
}
