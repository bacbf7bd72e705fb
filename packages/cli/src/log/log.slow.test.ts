/** `dejavm log` as people start it. */
import { spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { openLogStore } from "@dejavm/log-store";
import { position, ticks } from "@dejavm/machine";
import { afterAll, beforeAll, describe, expect, it } from "vitest";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));
const PAGE_BYTES = 4096;

let state: string;
beforeAll(() => {
  state = mkdtempSync(join(tmpdir(), "dejavm-log-"));
  const store = openLogStore(join(state, "store"));
  const nothing = { config: new Uint8Array(0), fingerprint: new Uint8Array(0) };
  const writer = store.openLineage(store.createLineage({ name: "web", ...nothing }).id);
  const trace = { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) };
  const place = { position: position(5n), ticks: ticks(20_000_000n), trace, memoryPages: 64 };
  const open = writer.beginCheckpoint({ ...place, state: new Uint8Array(10) });
  const pages = Uint32Array.from({ length: 64 }, (_, i) => i);
  const bytes = new Uint8Array(64 * PAGE_BYTES).map((_, i) => (i >> 8) + i);
  open.putPages(pages, bytes);
  open.commit();
  writer.recordOwnership({ epoch: 4, state: "live", peer: "", detail: "" });
  store.close();
});
afterAll(() => rmSync(state, { recursive: true }));

const file = (name: string): string => join(state, name);

function log(...args: string[]) {
  const command = ["--conditions=source", MAIN, "log", ...args];
  const { status, stdout, stderr } = spawnSync(process.execPath, command, {
    env: { ...process.env, XDG_STATE_HOME: "/nonexistent" },
    encoding: "utf8",
  });
  return { status, stdout, stderr };
}

const here = (): string[] => ["--state-dir", state];

describe("dejavm log", () => {
  it("lists and shows, for people and as JSON", () => {
    expect(log("ls", ...here())).toMatchObject({ status: 0, stderr: "" });
    const listed: unknown = JSON.parse(log("ls", "--json", ...here()).stdout);
    expect(listed).toMatchObject([
      { name: "web", state: "live", running: false, epoch: 4, checkpoints: 1 },
    ]);
    const shown = log("show", "web", ...here()).stdout;
    expect(shown).toContain("checkpoints\n  1  whole  at 2.0 s  position 5");
    expect(JSON.parse(log("show", "web", "--json", ...here()).stdout)).toMatchObject({
      checkpoints: [{ position: "5", memoryPages: 64 }],
      ownership: [{ epoch: 4, state: "live" }],
    });
  });

  it("exports, removes, imports and verifies", () => {
    const path = file("web.dejavm");
    const exported = log("export", "web", path, "--json", ...here());
    expect(exported.status).toBe(0);
    expect(exported.stderr).toContain("may hold secrets");
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(JSON.parse(exported.stdout)).toMatchObject({ name: "web", checkpoints: 1 });
    expect(log("export", "web", path, ...here())).toMatchObject({ status: 2 });
    expect(log("import", path, ...here()).stderr).toContain("E_STORE_NAME_TAKEN");
    expect(log("rm", "web", ...here()).status).toBe(0);
    expect(log("import", path, "--name", "copy", ...here()).status).toBe(0);
    expect(log("gc", "--json", ...here()).status).toBe(0);
    const verified = log("verify", "--json", ...here());
    expect(JSON.parse(verified.stdout)).toMatchObject({ problems: [], checkpoints: 1 });
    expect(verified.status).toBe(0);
    expect(log("import", path, "--name", "again", ...here()).stderr).toContain("E_STORE_EXISTS");
    rmSync(path);
    expect(log("export", "copy", "-", ...here()).stdout).toContain("dejavm export 1");
  });

  it("every failure is one coded line and a status", () => {
    const cases: readonly (readonly [readonly string[], number, RegExp])[] = [
      [["show", "nobody", ...here()], 1, /^dejavm: E_STORE_UNKNOWN .*\n {2}hint: .*\n$/],
      [["rm", "nobody", ...here()], 1, /^dejavm: E_STORE_UNKNOWN/],
      [["import", file("nothing"), ...here()], 1, /^dejavm: E_FILE_NOT_FOUND/],
      [["export", "nobody", file("x"), ...here()], 1, /^dejavm: E_STORE_UNKNOWN/],
      [["show", "web"], 1, /^dejavm: E_STORE_UNKNOWN/],
      [["export"], 2, /^dejavm: E_USAGE/],
      [["frobnicate"], 2, /^dejavm: E_USAGE/],
    ];
    for (const [args, status, message] of cases) {
      const result = log(...args);
      expect(result.stderr, args.join(" ")).toMatch(message);
      expect(result.status, args.join(" ")).toBe(status);
    }
    expect(existsSync(file("x"))).toBe(false);
    expect(existsSync(file("x.part"))).toBe(false);
    writeFileSync(file("text"), "no export");
    expect(log("import", file("text"), ...here()).stderr).toMatch(/^dejavm: E_STORE_FOREIGN/);
    expect(log("ls").stdout).toBe("");
    expect(log("ls", "--json").stdout).toBe("[]\n");
  });

  it("damage is reported and ends with 1", () => {
    const other = file("damaged");
    const store = openLogStore(join(other, "store"));
    const description = { config: Buffer.from("findable"), fingerprint: new Uint8Array(0) };
    store.createLineage({ name: "web", ...description });
    store.close();
    const path = join(other, "store", "store.db");
    const bytes = readFileSync(path);
    bytes.write("F", bytes.indexOf("findable"));
    writeFileSync(path, bytes);
    const result = log("verify", "--state-dir", other);
    expect(result.stdout).toContain("the row of machine web is damaged");
    expect(result.stderr).toContain("E_STORE_CORRUPT");
    expect(result.status).toBe(1);
  });

  it("Ctrl-C breaks an import off, and nothing of it stays", async () => {
    const big = file("big");
    const store = openLogStore(join(big, "store"));
    const nothing = { config: new Uint8Array(0), fingerprint: new Uint8Array(0) };
    const writer = store.openLineage(store.createLineage({ name: "big", ...nothing }).id);
    const trace = { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) };
    const place = { position: position(5n), ticks: ticks(0n), trace, memoryPages: 8192 };
    const open = writer.beginCheckpoint({ ...place, state: new Uint8Array(10) });
    const numbers = Uint32Array.from({ length: 8192 }, (_, i) => i);
    const words = new Uint32Array(8192 * 1024);
    for (let i = 0; i < 8192; i++) words[i * 1024] = i + 1;
    open.putPages(numbers, new Uint8Array(words.buffer));
    open.commit();
    store.close();
    expect(log("export", "big", file("big.dejavm"), "--state-dir", big).status).toBe(0);
    const target = file("target");
    const child = spawn(
      process.execPath,
      ["--conditions=source", MAIN, "log", "import", file("big.dejavm"), "--state-dir", target],
      { stdio: ["ignore", "ignore", "pipe"] },
    );
    child.stderr.once("data", () => child.kill("SIGINT"));
    const status = await new Promise((resolve) => child.on("close", resolve));
    // On a fast host it may be over before the signal comes.
    const names: unknown = JSON.parse(log("ls", "--json", "--state-dir", target).stdout);
    expect(names).toHaveLength(status === 130 ? 0 : 1);
  });
});
