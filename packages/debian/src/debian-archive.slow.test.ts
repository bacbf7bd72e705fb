/** Against the Debian mirror of this host; downloads a few hundred kilobytes of packages. */
import { mkdtemp, readdir, rm, stat, truncate } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { DebianArchive } from "./debian-archive.ts";

const DEAD_MIRROR = "http://127.0.0.1:9/debian";
const REQUEST = { packages: ["ncurses-base"] };

/** Conditions of the mirror that say nothing about this package. */
const OUTSIDE = new Set(["E_NO_NETWORK", "E_MIRROR_CHANGING"]);

let directory = "";
let outside = "";
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), "dejavm-debian-"));
  const probe = new DebianArchive({
    architecture: "riscv64",
    directory: join(directory, "probe"),
  });
  await probe
    .fetch(REQUEST, () => {})
    .catch((error: unknown) => {
      if (!(error instanceof CodedError && OUTSIDE.has(String(error.code)))) throw error;
      outside = error.message;
    });
});
beforeEach((context) => {
  if (outside !== "") context.skip(outside);
});
afterAll(async () => {
  await rm(directory, { recursive: true });
});
afterEach(() => {
  vi.unstubAllEnvs();
});

describe("a Debian archive", () => {
  test("no network: one error that says so, and nothing is left that looks whole", async () => {
    vi.stubEnv("DEJAVM_DEBIAN_MIRROR", DEAD_MIRROR);
    const archive = new DebianArchive({ architecture: "riscv64", directory });
    await expect(archive.fetch(REQUEST, () => {})).rejects.toMatchObject({ code: "E_NO_NETWORK" });
    expect(await readdir(join(directory, "trixie-riscv64"))).not.toContain("sets");
  });

  test("fetches for another architecture, leaves the host's apt alone", async () => {
    const hostState = async () => (await stat("/var/lib/apt/lists")).mtimeMs;
    const before = await hostState();
    const archive = new DebianArchive({ architecture: "riscv64", directory });
    const phases = new Set<string>();
    const set = await archive.fetch(REQUEST, ({ phase }) => phases.add(phase));
    expect(set.files.map((each) => each.package)).toEqual(["ncurses-base"]);
    expect([...phases]).toEqual(["lists", "download"]);
    expect(await hostState()).toBe(before);
  });

  test("the second time touches no network", async () => {
    vi.stubEnv("DEJAVM_DEBIAN_MIRROR", DEAD_MIRROR);
    const archive = new DebianArchive({ architecture: "riscv64", directory });
    const phases: string[] = [];
    const set = await archive.fetch(REQUEST, ({ phase }) => phases.push(phase));
    expect(set.files).toHaveLength(1);
    expect(phases).toEqual([]);
  });

  test("a damaged download is fetched again", async () => {
    const archive = new DebianArchive({ architecture: "riscv64", directory });
    const [file] = (await archive.fetch(REQUEST, () => {})).files;
    if (file === undefined) throw new Error("no file");
    await truncate(archive.filePath(file), 100);
    const again = await archive.fetch(REQUEST, () => {});
    expect((await stat(archive.filePath(file))).size).toBe(file.sizeBytes);
    expect(again.files).toEqual([file]);
  });

  test("an unknown package is named", async () => {
    const archive = new DebianArchive({ architecture: "riscv64", directory });
    const request = { packages: ["ncurses-base", "no-such-package-anywhere"] };
    const failure: unknown = await archive
      .fetch(request, () => {})
      .catch((error: unknown) => error);
    expect(failure).toMatchObject({ code: "E_PACKAGE_UNKNOWN" });
    expect(String(failure)).toContain("no-such-package-anywhere");
  });
});
