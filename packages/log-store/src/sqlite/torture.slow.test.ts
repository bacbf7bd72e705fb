/** What a store holds after its process or the power has failed, at any moment. */
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zstdDecompressSync } from "node:zlib";
import { Prng } from "@dejavm/base";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { finish } from "../log-store.ts";
import {
  type FileOperation,
  filesAfterLoss,
  layOut,
  readRecord,
} from "../test-support/power-loss.ts";
import { WORKLOAD_STEPS, workloadProblem } from "../test-support/workload.ts";
import { STORE_FAIL_POINTS } from "./fail-point.ts";
import { openLogStore } from "./sqlite-log-store.ts";

const SUPPORT = new URL("../test-support/", import.meta.url);
const CHILD = fileURLToPath(new URL("torture-child.ts", SUPPORT));
const RECORDER = fileURLToPath(new URL("write-recorder.c", SUPPORT));
/** More of everything: DEJAVM_SOAK=20. */
const POWER_LOSSES = 60 * Number(process.env["DEJAVM_SOAK"] ?? 1);

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-torture-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function child(args: readonly string[], env: NodeJS.ProcessEnv = {}) {
  const result = spawnSync(process.execPath, ["--conditions=source", CHILD, ...args], {
    env: { ...process.env, ...env },
    encoding: "utf8",
  });
  const lines = result.stdout.trim().split("\n");
  return { ...result, steps: Number(lines.at(-1) ?? 0) };
}

function problemIn(path: string, least: number, most: number): string | undefined {
  const store = openLogStore(path);
  try {
    return workloadProblem(store, least, most);
  } finally {
    store.close();
  }
}

describe("SIGKILL", () => {
  // Migrations have a test of their own; the index is flushed after 16,384 contents.
  const points = STORE_FAIL_POINTS.filter(
    (point) => !/^(migration\.step|index\.|remove\.)/.test(point),
  );
  const seed = Math.floor(Date.now() % 2 ** 31);
  const random = new Prng(seed);
  it.each(points.map((point) => [point, 1 + random.below(3)] as const))(
    `[LS10] at %s, time %i: all that was told of is there, work goes on (seed ${seed})`,
    (point, nth) => {
      const place = join(directory, `${point}-${nth}`);
      const { signal, stderr, steps } = child([place, "0", String(WORKLOAD_STEPS)], {
        DEJAVM_FAIL_POINT: `${point}:${nth}`,
      });
      expect(stderr).toBe("");
      // Few places are passed once only.
      if (signal === null) expect([nth > 1, steps]).toEqual([true, WORKLOAD_STEPS]);
      expect(problemIn(join(place, "store"), steps, steps + 1)).toBeUndefined();
      const rest = child([place, String(steps), String(WORKLOAD_STEPS)]);
      expect(rest.stderr).toBe("");
      expect(Math.max(steps, rest.steps)).toBe(WORKLOAD_STEPS);
      expect(problemIn(join(place, "store"), WORKLOAD_STEPS, WORKLOAD_STEPS)).toBeUndefined();
    },
  );
});

describe("SIGKILL while an old database is renewed", () => {
  it.each(["migration.step", "migration.before-commit", "migration.done"])(
    "[LS10] at %s: it has the old form or the new one, whole",
    (point) => {
      const place = join(directory, point);
      mkdirSync(join(place, "store"), { recursive: true });
      const old = zstdDecompressSync(readFileSync(new URL("golden/store-v1.db.zst", SUPPORT)));
      writeFileSync(join(place, "store", "store.db"), old);
      expect(child([place, "0", "1"], { DEJAVM_FAIL_POINT: point }).signal).toBe("SIGKILL");
      const store = openLogStore(join(place, "store"));
      expect(finish(store.verify())).toMatchObject({ problems: [], checkpoints: 2, contents: 4 });
      store.close();
    },
  );
});

describe("power loss", () => {
  let recorder: string | undefined;
  beforeAll(() => {
    const built = join(directory, "recorder.so");
    const { status } = spawnSync("cc", ["-shared", "-fPIC", "-O1", "-o", built, RECORDER, "-ldl"]);
    if (status === 0) recorder = built;
  });

  /** What the workload did to its files. */
  function record(acknowledge: "sync" | "nosync"): { root: string; operations: FileOperation[] } {
    const root = join(directory, acknowledge);
    const log = join(directory, `${acknowledge}.log`);
    const { signal, stderr } = child([root, "0", String(WORKLOAD_STEPS), acknowledge], {
      LD_PRELOAD: recorder,
      DEJAVM_RECORD_BELOW: root,
      DEJAVM_RECORD_TO: log,
    });
    expect(stderr).toBe("");
    expect(signal).toBe("SIGKILL");
    return { root, operations: readRecord(readFileSync(log)) };
  }

  /** How many steps the outside world had heard of. */
  function acknowledged(operations: readonly FileOperation[], count: number): number {
    const told = operations
      .slice(0, count)
      .filter(({ kind, path }) => kind === "write" && path.endsWith("/acked"));
    return Number(Buffer.from(told.at(-1)?.data ?? []).toString());
  }

  /** Loses power at random moments; the first problem, with its seed. */
  function losePower(
    { root, operations }: { root: string; operations: FileOperation[] },
    seed: number,
    times: number,
  ): string | undefined {
    const place = join(directory, "rebuilt");
    for (let i = 0; i < times; i++) {
      const random = new Prng(seed + i);
      const count = random.below(operations.length + 1);
      const files = filesAfterLoss(operations, count, random.oneIn(8) ? undefined : random);
      layOut(files, root, place);
      const least = acknowledged(operations, count);
      let problem: string | undefined;
      try {
        problem = problemIn(join(place, "store"), least, Math.min(least + 4, WORKLOAD_STEPS));
      } catch (error) {
        problem = String(error);
      }
      if (problem !== undefined) return `seed ${seed + i}, after ${count} operations: ${problem}`;
    }
    return undefined;
  }

  const seed = Math.floor(Date.now() % 2 ** 31);

  it(`[LS10] any unsynced writes lost: what was synced is there (seed ${seed})`, (ctx) => {
    if (recorder === undefined) ctx.skip("there is no C compiler");
    expect(losePower(record("sync"), seed, POWER_LOSSES)).toBeUndefined();
  });

  it("[LS10] the rig notices a sync that is left out", (ctx) => {
    if (recorder === undefined) ctx.skip("there is no C compiler");
    expect(losePower(record("nosync"), seed, POWER_LOSSES)).toMatch(/^seed/);
  });
});
