/**
 * Brings a bare clone to life: Node 24 and pnpm 10 into the user's cache, the dependencies into
 * node_modules, the sources compiled into dist. Each step is skipped when nothing changed.
 *
 * Plain JavaScript without dependencies, because it runs on whatever Node (>= 18) the system has.
 * Called by tools/run, which puts what this prints on stdout in front of PATH. Everything that a
 * person should read goes to stderr, one line each.
 *
 *   node tools/bootstrap.mjs install | build
 *
 * Nothing is ever half installed: a tool is installed into a temporary directory and renamed, a
 * stamp is removed before its step begins and written after it ends. Concurrent starts wait for
 * each other under flock(1): the step runs in a child of this program that holds the lock.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const WANTED_NODE_MAJOR = 24;
const WANTED_PNPM_MAJOR = 10;
const OLDEST_NODE_MAJOR = 18;
/** What flock(1) exits with when another process holds the lock; no step exits with it. */
const LOCK_BUSY_STATUS = 75;

const self = fileURLToPath(import.meta.url);
const root = path.dirname(path.dirname(self));
const stampDir = path.join(root, "node_modules", ".dejavm");
const nodeMajor = Number.parseInt(process.versions.node, 10);

/** Retries of npm and pnpm after 1, 3 and 9 seconds. */
const PATIENCE = ["--fetch-retries=3", "--fetch-retry-mintimeout=1000", "--fetch-retry-factor=3"];

/** What npm and pnpm say when they do not reach the registry. */
const NETWORK_TROUBLE =
  /ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET|META_FETCH|FETCH_ERROR/u;

/** A failure that has been understood: printed as one line, never as a stack trace. */
class BootstrapError extends Error {
  /**
   * @param {string} code
   * @param {string} message
   * @param {string} [hint]
   */
  constructor(code, message, hint) {
    super(hint === undefined ? `${code} ${message}` : `${code} ${message}; ${hint}`);
    this.name = "";
  }
}

/** Ended by a signal: nothing to explain, only the exit status to pass on. */
class Interrupted extends Error {
  /** @param {NodeJS.Signals} signal */
  constructor(signal) {
    super(signal);
    this.exitStatus = 128 + os.constants.signals[signal];
  }
}

/** @param {string} line */
function say(line) {
  process.stderr.write(`dejavm: ${line}\n`);
}

// --- Child processes -----------------------------------------------------------------------

/** @type {readonly NodeJS.Signals[]} */
const FORWARDED_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"];

/**
 * Runs a command to its end, passing on the signals that this process gets. Its stdout never
 * reaches ours, which carries the answer to tools/run.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, show?: boolean }} [options] `show`: let its
 *   output through to stderr instead of collecting it
 * @returns {Promise<{ status: number, output: string }>}
 */
function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd: options.cwd ?? root,
      env: options.env ?? process.env,
      stdio: ["ignore", options.show ? 2 : "pipe", options.show ? 2 : "pipe"],
    });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) {
      stream?.on("data", (chunk) => {
        output += chunk;
      });
    }
    /** @type {NodeJS.Signals | undefined} */
    let interrupted;
    /** @param {NodeJS.Signals} signal */
    const forward = (signal) => {
      interrupted = signal;
      child.kill(signal);
    };
    const release = () => {
      for (const signal of FORWARDED_SIGNALS) process.off(signal, forward);
    };
    for (const signal of FORWARDED_SIGNALS) process.on(signal, forward);
    child.on("error", (error) => {
      release();
      reject(error);
    });
    child.on("close", (status, signal) => {
      release();
      if (interrupted !== undefined) reject(new Interrupted(interrupted));
      else resolve({ status: status ?? (signal === null ? 1 : 128), output });
    });
  });
}

/** @param {string} output of npm or pnpm
 *  @returns {string} the line that says what went wrong */
function reasonIn(output) {
  const lines = output.split("\n").map((line) => line.replace(/^npm (error|ERR!)\s*/u, "").trim());
  const telling =
    lines.find((line) => /\breason:|\bERR_PNPM_/u.test(line)) ??
    lines.find((line) => /\bE[A-Z]{3,}\b|rror:/u.test(line));
  return (telling ?? lines.find((line) => line !== "") ?? "no message").slice(0, 160);
}

/**
 * @param {string} what was to be installed
 * @param {string} output of npm or pnpm
 */
function installError(what, output) {
  if (/ENOSPC|EDQUOT/u.test(output)) {
    return new BootstrapError("E_DISK_FULL", `cannot install ${what}`, "free some disk space");
  }
  if (NETWORK_TROUBLE.test(output)) {
    return new BootstrapError(
      "E_NO_NETWORK",
      `cannot fetch ${what}: ${reasonIn(output)}`,
      "check the connection and `npm config get registry`, then start again",
    );
  }
  if (output.includes("ERR_PNPM_OUTDATED_LOCKFILE")) {
    return new BootstrapError(
      "E_LOCKFILE_OUTDATED",
      "pnpm-lock.yaml does not match the package.json files",
      "run `pnpm install` and commit the lock file",
    );
  }
  return new BootstrapError("E_INSTALL_FAILED", `cannot install ${what}: ${reasonIn(output)}`);
}

/**
 * Runs one step of this program in a child that holds `lockFile`. The child looks again whether
 * there is anything left to do. Without flock(1) the step runs unlocked.
 * @param {string} lockFile
 * @param {string} step
 */
async function runLocked(lockFile, step) {
  makeDirectory(path.dirname(lockFile));
  const command = ["--no-fork", lockFile, process.execPath, self, step];
  const impatient = ["--nonblock", "--conflict-exit-code", String(LOCK_BUSY_STATUS)];
  /** @type {{ status: number }} */
  let result;
  try {
    result = await run("flock", [...impatient, ...command], { show: true });
    if (result.status === LOCK_BUSY_STATUS) {
      say("waiting for another dejavm that is installing or building");
      result = await run("flock", command, { show: true });
    }
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
    result = await run(process.execPath, [self, step], { show: true });
  }
  if (result.status !== 0) process.exit(result.status);
}

/** @param {string} directory */
function makeDirectory(directory) {
  try {
    fs.mkdirSync(directory, { recursive: true });
  } catch (error) {
    throw new BootstrapError(
      "E_CACHE_UNWRITABLE",
      `cannot make the directory ${directory}: ${String(error)}`,
      "set XDG_CACHE_HOME to a directory that you may write",
    );
  }
}

// --- The toolchain: Node and pnpm in the user's cache --------------------------------------

function cacheDirectory() {
  const xdg = process.env["XDG_CACHE_HOME"];
  const base = xdg !== undefined && path.isAbsolute(xdg) ? xdg : path.join(os.homedir(), ".cache");
  return path.join(base, "dejavm", "toolchain");
}

/**
 * A tool from the npm registry: `name` is its directory in the cache, `spec` what npm installs
 * there, `bin` the directory in it that belongs on PATH, `program` what must be there and work.
 * @typedef {{ name: string, spec: string, bin: string, program: string }} Tool
 */

/** @returns {Tool} */
function nodeTool() {
  // The package `node` only runs an install script that fetches the package named here, so take
  // that one where its name is known: it also works where install scripts are switched off.
  const known = process.platform === "linux" && ["x64", "arm64"].includes(process.arch);
  const name = known ? `node-linux-${process.arch}` : "node";
  return {
    name: `node-${WANTED_NODE_MAJOR}-${process.platform}-${process.arch}`,
    spec: `${name}@${WANTED_NODE_MAJOR}`,
    bin: `node_modules/${name}/bin`,
    program: "node",
  };
}

/** @returns {Tool} */
function pnpmTool() {
  return {
    name: `pnpm-${WANTED_PNPM_MAJOR}`,
    spec: `pnpm@${WANTED_PNPM_MAJOR}`,
    bin: "node_modules/.bin",
    program: "pnpm",
  };
}

/** The tools that the system does not have in the wanted version. */
function missingFromSystem() {
  const node = nodeMajor >= WANTED_NODE_MAJOR ? [] : [nodeTool()];
  return [...node, pnpmTool()];
}

/** @param {Tool} tool */
function toolBin(tool) {
  return path.join(cacheDirectory(), tool.name, tool.bin);
}

/** @param {Tool} tool */
function isInstalled(tool) {
  return fs.existsSync(path.join(toolBin(tool), tool.program));
}

/**
 * PATH with the tools in front.
 * @param {readonly Tool[]} tools
 */
function environmentWith(tools) {
  const bins = tools.filter(isInstalled).map(toolBin);
  return { ...process.env, PATH: [...bins, process.env["PATH"] ?? ""].join(path.delimiter) };
}

/** Installs what is missing; runs under the lock of the cache. */
async function toolchainStep() {
  const cache = cacheDirectory();
  for (const name of fs.readdirSync(cache)) {
    // Left by an install that was killed: under the lock nobody else is at work here.
    if (name.endsWith(".partial")) fs.rmSync(path.join(cache, name), { recursive: true });
  }
  for (const tool of missingFromSystem()) {
    if (!isInstalled(tool)) await installTool(tool);
  }
}

/** @param {Tool} tool */
async function installTool(tool) {
  const target = path.join(cacheDirectory(), tool.name);
  const partial = `${target}.partial`;
  say(`installing ${tool.spec} into ${target}`);
  fs.mkdirSync(partial);
  try {
    const quiet = ["--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"];
    const args = ["install", "--prefix", partial, ...quiet, ...PATIENCE, tool.spec];
    const installed = await run("npm", args, { cwd: partial }).catch(npmMissing);
    if (installed.status !== 0) throw installError(tool.spec, installed.output);
    const program = path.join(partial, tool.bin, tool.program);
    const tried = await run(program, ["--version"], { env: environmentWith([nodeTool()]) });
    if (tried.status !== 0) throw installError(tool.spec, tried.output);
    fs.rmSync(target, { recursive: true, force: true });
    fs.renameSync(partial, target);
  } finally {
    fs.rmSync(partial, { recursive: true, force: true });
  }
}

/** @param {unknown} error
 *  @returns {never} */
function npmMissing(error) {
  if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  throw new BootstrapError("E_NO_NPM", "cannot find npm on PATH", "install it: apt install npm");
}

// --- Dependencies --------------------------------------------------------------------------

/** Directories of the workspace's members, relative to the root. */
function memberDirectories() {
  const packages = fs.readdirSync(path.join(root, "packages")).map((name) => `packages/${name}`);
  return [...packages, "bench", "test"].filter((d) => fs.existsSync(path.join(root, d)));
}

/** A hash of everything that decides what `pnpm install` does. */
function installSignature() {
  const hash = createHash("sha256");
  hash.update(`${process.platform} ${process.arch} pnpm ${WANTED_PNPM_MAJOR}\0`);
  const manifests = memberDirectories().map((directory) => `${directory}/package.json`);
  for (const file of ["pnpm-lock.yaml", "pnpm-workspace.yaml", "package.json", ...manifests]) {
    const full = path.join(root, file);
    if (fs.existsSync(full)) hash.update(`${file}\0`).update(fs.readFileSync(full)).update("\0");
  }
  return hash.digest("hex");
}

/** Installs the dependencies if they changed; runs under the lock of this checkout. */
async function installStep() {
  const signature = installSignature();
  if (stampIs("install", signature)) return;
  removeStamp("install");
  say("installing the dependencies");
  const args = ["install", "--frozen-lockfile", "--config.confirm-modules-purge=false"];
  // With NODE_ENV=production pnpm would leave out what the build needs.
  const env = { ...environmentWith(missingFromSystem()), NODE_ENV: "development" };
  const program = path.join(toolBin(pnpmTool()), "pnpm");
  const { status, output } = await run(program, [...args, ...PATIENCE], { env });
  if (status !== 0) throw installError("the dependencies", output);
  writeStamp("install", signature);
}

// --- Build ---------------------------------------------------------------------------------

/** Sizes and times of every file that the compiler reads for the command line. */
function buildSignature() {
  const hash = createHash("sha256").update(installSignature());
  for (const file of ["tsconfig.json", "tsconfig.base.json"]) addFile(hash, file);
  for (const directory of memberDirectories()) {
    if (directory === "test") continue;
    addFile(hash, `${directory}/tsconfig.json`);
    addTree(hash, `${directory}/src`);
  }
  return hash.digest("hex");
}

/**
 * @param {import("node:crypto").Hash} hash
 * @param {string} file relative to the root
 */
function addFile(hash, file) {
  const stat = fs.statSync(path.join(root, file), { throwIfNoEntry: false });
  hash.update(`${file}\0${stat?.size}\0${stat?.mtimeMs}\0`);
}

/**
 * @param {import("node:crypto").Hash} hash
 * @param {string} directory relative to the root
 */
function addTree(hash, directory) {
  const full = path.join(root, directory);
  if (!fs.existsSync(full)) return;
  for (const entry of fs.readdirSync(full, { withFileTypes: true })) {
    const child = `${directory}/${entry.name}`;
    if (entry.isDirectory()) addTree(hash, child);
    else if (!entry.name.endsWith(".test.ts")) addFile(hash, child);
  }
}

/** True if dist holds what the present sources compile to. */
function isBuilt() {
  const program = path.join(root, "packages/cli/dist/main.js");
  return fs.existsSync(program) && stampIs("build", buildSignature());
}

/** Compiles what the command line needs; runs under the lock of this checkout. */
async function buildStep() {
  await installStep();
  if (isBuilt()) return;
  const signature = buildSignature();
  removeStamp("build");
  say("building");
  const tsc = path.join(root, "node_modules/.bin/tsc");
  const env = environmentWith(missingFromSystem());
  const { status, output } = await run(tsc, ["-b", "packages/cli"], { env });
  if (status !== 0) {
    process.stderr.write(output);
    throw new BootstrapError("E_BUILD_FAILED", "cannot compile the sources", "see the lines above");
  }
  writeStamp("build", signature);
}

// --- Stamps --------------------------------------------------------------------------------

/**
 * @param {string} name
 * @param {string} signature
 */
function stampIs(name, signature) {
  try {
    return fs.readFileSync(path.join(stampDir, name), "utf8") === signature;
  } catch {
    return false;
  }
}

/** @param {string} name */
function removeStamp(name) {
  fs.rmSync(path.join(stampDir, name), { force: true });
}

/**
 * @param {string} name
 * @param {string} signature
 */
function writeStamp(name, signature) {
  fs.mkdirSync(stampDir, { recursive: true });
  const partial = path.join(stampDir, `${name}.${process.pid}`);
  fs.writeFileSync(partial, signature);
  fs.renameSync(partial, path.join(stampDir, name));
}

// --- Main ----------------------------------------------------------------------------------

/** @param {string} goal */
async function bringUp(goal) {
  if (nodeMajor < OLDEST_NODE_MAJOR) {
    throw new BootstrapError(
      "E_NODE_TOO_OLD",
      `cannot start with Node ${process.versions.node}`,
      `any Node from ${OLDEST_NODE_MAJOR} on will do; Node ${WANTED_NODE_MAJOR} is then fetched`,
    );
  }
  const tools = missingFromSystem();
  if (!tools.every(isInstalled)) {
    await runLocked(path.join(cacheDirectory(), "lock"), "toolchain-step");
  }
  const ready = goal === "build" ? isBuilt() : stampIs("install", installSignature());
  if (!ready) await runLocked(path.join(root, ".cache", "bootstrap.lock"), `${goal}-step`);
  const bins = [path.join(root, "node_modules/.bin"), ...tools.map(toolBin)];
  process.stdout.write(`${bins.join(path.delimiter)}\n`);
}

/** @type {Readonly<Record<string, () => Promise<void>>>} */
const actions = {
  install: () => bringUp("install"),
  build: () => bringUp("build"),
  "toolchain-step": toolchainStep,
  "install-step": installStep,
  "build-step": buildStep,
};

try {
  const action = actions[process.argv[2] ?? ""];
  if (action === undefined) throw new Error("usage: node tools/bootstrap.mjs install|build");
  await action();
} catch (error) {
  if (error instanceof Interrupted) process.exit(error.exitStatus);
  const understood = error instanceof BootstrapError || !(error instanceof Error);
  say(understood ? String(error) : (error.stack ?? error.message));
  process.exit(1);
}
