/** Processes side by side, and hosts that refuse: no space, no permission. */
import { spawn, spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finish } from "../log-store.ts";
import { WORKLOAD_STEPS, Workload, workloadProblem } from "../test-support/workload.ts";
import { openLogStore } from "./sqlite-log-store.ts";

const CHILD = fileURLToPath(new URL("../test-support/torture-child.ts", import.meta.url));
const ARGUMENTS = ["--conditions=source", CHILD];
const ALL = String(WORKLOAD_STEPS);
/** An account without rights of its own, there on every Linux. */
const NOBODY = 65534;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-hosts-"));
  chmodSync(directory, 0o755);
});
afterAll(() => rmSync(directory, { recursive: true }));

function stepsIn(stdout: string): number {
  return Number(stdout.trim().split("\n").at(-1) ?? 0);
}

describe("[LS2] two processes", () => {
  it("the second writer of a lineage is told who has it", () => {
    const place = join(directory, "busy");
    const store = openLogStore(join(place, "store"));
    const workload = new Workload(store);
    const { stderr, status } = spawnSync(process.execPath, [...ARGUMENTS, place, "0", "1"], {
      encoding: "utf8",
    });
    expect(status).toBe(1);
    expect(stderr).toMatch(/^E_STORE_BUSY/);
    expect(stderr).toContain(`process ${process.pid}`);
    workload.release();
    store.close();
  });

  it("several find the same new store at once", async () => {
    const place = join(directory, "new");
    const children = Array.from({ length: 4 }, () =>
      spawn(process.execPath, [...ARGUMENTS, place, "1", "0"]),
    );
    const ends = children.map((child) => new Promise((resolve) => child.on("close", resolve)));
    expect(await Promise.all(ends)).toEqual([0, 0, 0, 0]);
  });

  it("one reads, verifies and collects garbage while the other writes", async () => {
    const place = join(directory, "beside");
    openLogStore(join(place, "store")).close();
    const child = spawn(process.execPath, [...ARGUMENTS, place, "0", ALL]);
    const ended = new Promise((resolve) => child.on("close", resolve));
    const reader = openLogStore(join(place, "store"), { mode: "read" });
    const collector = openLogStore(join(place, "store"));
    while (child.exitCode === null) {
      for (const { id } of reader.lineages()) {
        let next = 0;
        for (const { header } of reader.readTrace(id, 0)) next = header.sequence;
        expect(next).toBeLessThan(1000);
      }
      finish(collector.gc());
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    await ended;
    expect(child.exitCode).toBe(0);
    expect(workloadProblem(reader, WORKLOAD_STEPS, WORKLOAD_STEPS)).toBeUndefined();
    reader.close();
    collector.close();
  });
});

describe("[LS11] a host that refuses", () => {
  it("files that may not grow: a coded error, nothing lost, and work goes on", () => {
    const place = join(directory, "limit");
    const command = `ulimit -f 1500; exec "$0" "$@"`;
    const shell = ["-c", command, process.execPath, ...ARGUMENTS, place, "0", ALL];
    const { stdout, stderr } = spawnSync("sh", shell, { encoding: "utf8" });
    expect(stderr).toMatch(/^(E_DISK_FULL|E_STORE_IO) /);
    expectToGoOn(place, stepsIn(stdout));
  });

  it("a full disk: E_DISK_FULL, nothing lost, and with more space work goes on", (ctx) => {
    const place = join(directory, "full");
    mkdirSync(place);
    const mount = spawnSync("mount", ["-t", "tmpfs", "-o", "size=1500k", "none", place]);
    if (mount.status !== 0) ctx.skip("cannot mount a small file system: needs root");
    try {
      const { stdout, stderr } = spawnSync(process.execPath, [...ARGUMENTS, place, "0", ALL], {
        encoding: "utf8",
      });
      expect(stderr).toMatch(/^E_DISK_FULL /);
      spawnSync("mount", ["-o", "remount,size=50m", place]);
      expectToGoOn(place, stepsIn(stdout));
    } finally {
      spawnSync("umount", [place]);
    }
  });

  it("a directory that may not be written is E_STORE_UNWRITABLE", () => {
    const place = join(directory, "foreign");
    mkdirSync(place, { mode: 0o555 });
    const account = process.getuid?.() === 0 ? { DEJAVM_TORTURE_UID: String(NOBODY) } : {};
    const { stderr } = spawnSync(process.execPath, [...ARGUMENTS, place, "0", "1"], {
      encoding: "utf8",
      env: { ...process.env, ...account },
    });
    expect(stderr).toMatch(/^E_STORE_UNWRITABLE/);
  });

  function expectToGoOn(place: string, steps: number): void {
    expect(steps).toBeLessThan(WORKLOAD_STEPS);
    const store = openLogStore(join(place, "store"));
    expect(workloadProblem(store, steps, steps + 1)).toBeUndefined();
    const workload = new Workload(store);
    workload.run(steps, WORKLOAD_STEPS);
    workload.release();
    expect(workloadProblem(store, WORKLOAD_STEPS, WORKLOAD_STEPS)).toBeUndefined();
    store.close();
  }
});
