/** Starts that must fail: one clear line each, and nothing half installed. */
import { spawnSync } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { expect, onTestFinished, test } from "vitest";

const ROOT = path.dirname(import.meta.dirname);
const CLONED = ["dejavm", "tools", "package.json", "pnpm-lock.yaml", "pnpm-workspace.yaml"];

/** A bare clone and an empty cache below one temporary directory. */
function makeClone(): { readonly clone: string; readonly cache: string } {
  const directory = fs.mkdtempSync(path.join(os.tmpdir(), "dejavm-bootstrap-"));
  onTestFinished(() => fs.rmSync(directory, { recursive: true }));
  const clone = path.join(directory, "clone");
  for (const name of CLONED) {
    fs.cpSync(path.join(ROOT, name), path.join(clone, name), { recursive: true });
  }
  fs.mkdirSync(path.join(clone, "packages"));
  return { clone, cache: path.join(directory, "cache") };
}

function start(clone: string, environment: Readonly<Record<string, string>>) {
  return spawnSync(path.join(clone, "dejavm"), ["--version"], {
    encoding: "utf8",
    env: { ...process.env, ...environment },
  });
}

function filesBelow(directory: string): string[] {
  return fs.globSync("**/*", { cwd: directory }).toSorted();
}

test("without a network the start fails with E_NO_NETWORK and leaves no partial tool", () => {
  const { clone, cache } = makeClone();
  const { status, stdout, stderr } = start(clone, {
    XDG_CACHE_HOME: cache,
    npm_config_cache: `${cache}-npm`,
    npm_config_registry: "http://127.0.0.1:9",
  });
  expect(stderr).toMatch(/^dejavm: E_NO_NETWORK cannot fetch \S+@\d+: .* then start again$/mu);
  expect({ status, stdout }).toEqual({ status: 1, stdout: "" });
  expect(filesBelow(cache)).toEqual(["dejavm", "dejavm/toolchain", "dejavm/toolchain/lock"]);
  expect(filesBelow(clone)).not.toContain("node_modules");
});

test("a cache that cannot be made is E_CACHE_UNWRITABLE", () => {
  const { clone } = makeClone();
  const { status, stderr } = start(clone, { XDG_CACHE_HOME: path.join(clone, "dejavm") });
  expect(stderr).toMatch(/^dejavm: E_CACHE_UNWRITABLE cannot make the directory .*\n$/u);
  expect(status).toBe(1);
});

test("without node on PATH the start fails with E_NO_NODE", () => {
  const { clone } = makeClone();
  const programs = path.join(clone, "programs");
  fs.mkdirSync(programs);
  for (const name of ["dirname", "readlink", "sh"]) {
    fs.symlinkSync(path.join("/usr/bin", name), path.join(programs, name));
  }
  const { status, stderr } = start(clone, { PATH: programs });
  expect(stderr).toMatch(/^dejavm: E_NO_NODE cannot find node on PATH; .*\n$/u);
  expect(status).toBe(1);
});
