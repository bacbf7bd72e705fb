/** Runs every rule over the files of the workspace. */
import fs from "node:fs";
import path from "node:path";
import { checkManifest, checkModules, type Manifest } from "./modules.ts";
import { checkPurity } from "./purity.ts";
import { checkErrorCodes, checkRuleIds, type TextFile } from "./registers.ts";
import { checkSize } from "./size.ts";
import { type Finding, memberOf, parseSource } from "./source.ts";

const SOURCE_GLOBS = [
  "packages/*/src/**/*.ts",
  "test/**/*.ts",
  "bench/**/*.ts",
  "tools/**/*.{ts,mjs}",
  "*.ts",
];
const SCRIPTS = ["dejavm", "tools/run", ".ci/run"];

/** Every finding in the workspace at `root`, in the order of files and lines. */
export function checkWorkspace(root: string): Finding[] {
  const sources = glob(root, SOURCE_GLOBS).map((file) => parseSource(file, read(root, file)));
  const scripts: TextFile[] = SCRIPTS.map((file) => ({ path: file, text: read(root, file) }));
  const manifests = glob(root, ["packages/*/package.json"]).map((file) =>
    parseManifest(file, read(root, file)),
  );
  const findings = [
    ...sources.flatMap((source) => [
      ...checkPurity(source),
      ...checkModules(source),
      ...checkSize(source),
    ]),
    ...manifests.flatMap(checkManifest),
    ...checkErrorCodes(sources, scripts, read(root, "docs/errors.md")),
    ...checkRuleIds(sources, read(root, "docs/SPEC.md")),
  ];
  return findings.toSorted((a, b) => a.file.localeCompare(b.file) || a.line - b.line);
}

/** `file:line rule: what to do`, as editors and terminals link it. */
export function formatFinding(finding: Finding): string {
  const mark = finding.level === "note" ? " (note)" : "";
  return `${finding.file}:${finding.line} ${finding.rule}${mark}: ${finding.message}`;
}

/** Parses package.json as far as the arrows go; throws an `Error` for bad JSON. */
export function parseManifest(file: string, text: string): Manifest {
  const parsed: unknown = JSON.parse(text);
  const dependencies =
    typeof parsed === "object" && parsed !== null && "dependencies" in parsed
      ? Object.keys(parsed.dependencies ?? {})
      : [];
  return {
    member: memberOf(file),
    dependencies: dependencies
      .filter((name) => name.startsWith("@dejavm/"))
      .map((name) => name.slice("@dejavm/".length)),
  };
}

function glob(root: string, patterns: readonly string[]): string[] {
  return patterns
    .flatMap((pattern) => fs.globSync(pattern, { cwd: root, exclude: isGenerated }))
    .map((file) => file.split(path.sep).join("/"))
    .toSorted();
}

function isGenerated(name: string): boolean {
  return /(?:^|\/)(?:node_modules|dist)$/u.test(name);
}

/** The text of a file, empty when there is none. */
function read(root: string, file: string): string {
  const full = path.join(root, file);
  return fs.existsSync(full) ? fs.readFileSync(full, "utf8") : "";
}
