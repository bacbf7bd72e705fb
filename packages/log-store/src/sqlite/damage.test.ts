/** Foreign, newer, damaged and unusable stores: coded errors, and nothing lost that was there. */
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { CodedError, Prng } from "@dejavm/base";
import Database from "better-sqlite3";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { sha256 } from "../content-pack.ts";
import { exportLineage } from "../export/export-lineage.ts";
import { finish, type LogStore } from "../log-store.ts";
import { TestTrace } from "../test-support/test-trace.ts";
import { Workload, workloadProblem } from "../test-support/workload.ts";
import { SCHEMA_VERSION } from "./schema.ts";
import { openLogStore } from "./sqlite-log-store.ts";
import { readTail } from "./trace-tail.ts";

/** More of everything: DEJAVM_SOAK=20. */
const SOAK = Number(process.env["DEJAVM_SOAK"] ?? 1);
const FLIPS = 24 * SOAK;
const CUTS = 8 * SOAK;

let root: string;
let directory: string;
let database: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "dejavm-damage-"));
  directory = join(root, "store");
  database = join(directory, "store.db");
});
afterEach(() => rmSync(root, { recursive: true }));

function codeOf(action: () => unknown): string {
  try {
    action();
  } catch (error) {
    const coded: CodedError | undefined = error instanceof CodedError ? error : undefined;
    if (coded === undefined) throw error;
    return coded.code;
  }
  return "no error";
}

/** Does some of the workload, and closes. */
function fill(steps: number): void {
  const store = openLogStore(directory);
  const workload = new Workload(store);
  workload.run(0, steps);
  workload.release();
  store.close();
}

/** All that a reader can get of the store, as one hash. */
function everything(store: LogStore): string {
  const pieces: Uint8Array[] = [];
  for (const info of store.lineages()) {
    const { createdAtMs, name, ownership } = info;
    pieces.push(Buffer.from(JSON.stringify({ createdAtMs, name, ownership })));
    pieces.push(Buffer.from(JSON.stringify(store.reports(info.id))));
    for (const checkpoint of store.checkpoints(info.id)) {
      pieces.push(Buffer.from(String(checkpoint.createdAtMs)));
    }
    finish(exportLineage(store, info.id, (piece) => pieces.push(piece.slice())));
  }
  return Buffer.from(sha256(Buffer.concat(pieces))).toString("hex");
}

describe("[LS11] what is no store of ours", () => {
  it("text and other databases are E_STORE_FOREIGN, and stay as they are", () => {
    mkdirSync(directory);
    writeFileSync(database, "no database in here, but as long as a header ".repeat(300));
    expect(codeOf(() => openLogStore(directory))).toBe("E_STORE_FOREIGN");
    expect(readFileSync(database, "utf8")).toContain("no database in here");
    rmSync(database);
    const other = new Database(database);
    other.exec("CREATE TABLE theirs (x); INSERT INTO theirs VALUES (1)");
    other.close();
    const before = readFileSync(database);
    for (const mode of ["write", "read"] as const) {
      expect(codeOf(() => openLogStore(directory, { mode }))).toBe("E_STORE_FOREIGN");
    }
    expect(readFileSync(database)).toEqual(before);
  });

  it("a newer form is E_STORE_NEWER", () => {
    fill(3);
    const newer = new Database(database);
    newer.pragma(`user_version = ${SCHEMA_VERSION + 1}`);
    newer.close();
    for (const mode of ["write", "read"] as const) {
      expect(codeOf(() => openLogStore(directory, { mode }))).toBe("E_STORE_NEWER");
    }
  });

  it("nothing there is E_STORE_UNKNOWN for reading, a file in the way E_STORE_UNWRITABLE", () => {
    expect(codeOf(() => openLogStore(directory, { mode: "read" }))).toBe("E_STORE_UNKNOWN");
    writeFileSync(directory, "");
    expect(codeOf(() => openLogStore(directory))).toBe("E_STORE_UNWRITABLE");
  });

  it("is for its owner's eyes only", () => {
    fill(1);
    const mode = (path: string): string => (statSync(path).mode & 0o777).toString(8);
    expect([mode(directory), mode(database)]).toEqual(["700", "600"]);
  });
});

describe("[LS11] damage", () => {
  it("every flipped bit is found by verify, or has no meaning", () => {
    fill(20);
    const whole = openLogStore(directory);
    const want = everything(whole);
    whole.close();
    const bytes = readFileSync(database);
    const seed = Math.floor(Date.now() % 2 ** 31);
    const random = new Prng(seed);
    let found = 0;
    for (let i = 0; i < FLIPS; i++) {
      const at = random.below(bytes.length);
      const bit = random.below(8);
      const flipped = Buffer.from(bytes);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << bit);
      const place = join(root, "flipped");
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place);
      writeFileSync(join(place, "store.db"), flipped);
      let store: LogStore | undefined;
      try {
        store = openLogStore(place);
        const { problems } = finish(store.verify());
        if (problems.length > 0) found++;
        else expect(everything(store), `seed ${seed}, byte ${at}, bit ${bit}`).toBe(want);
      } catch (error) {
        const coded: CodedError | undefined = error instanceof CodedError ? error : undefined;
        if (coded === undefined) throw error;
        expect(coded.code).toMatch(/^E_STORE_/);
        found++;
      } finally {
        store?.close();
      }
    }
    // Three of four have a meaning; a quarter is beyond any chance.
    expect(found, `seed ${seed}`).toBeGreaterThan(FLIPS / 4);
  });

  it("a torn tail is cut back to the last whole segment, at every byte, and said so", () => {
    const store = openLogStore(directory);
    const writer = store.openLineage(store.createLineage(lineage()).id);
    const trace = new TestTrace();
    for (let i = 0; i < 20; i++) writer.append([trace.segment(i)]);
    const tail = join(directory, "tails", `${writer.lineage}.1.tail`);
    const before = statSync(tail).size;
    writer.append([trace.segment(20)]);
    const whole = readFileSync(tail);
    const place = join(root, "torn");
    const copy = (bytes: Uint8Array): void => {
      rmSync(place, { recursive: true, force: true });
      mkdirSync(join(place, "tails"), { recursive: true });
      for (const suffix of ["", "-wal"]) {
        copyFileSync(`${database}${suffix}`, join(place, `store.db${suffix}`));
      }
      writeFileSync(join(place, "tails", basename(tail)), bytes);
    };
    const check = (expected: number, cutBytes: number, why: string): void => {
      const torn = openLogStore(place);
      expect(torn.traceEnd(writer.lineage)?.sequence, why).toBe(expected);
      expect([...torn.readTrace(writer.lineage, 0)], why).toHaveLength(expected);
      expect(finish(torn.verify()), why).toMatchObject({ problems: [], segments: expected });
      const again = torn.openLineage(writer.lineage);
      expect(again.tornBytes, why).toBe(cutBytes);
      again.append([trace.segment(expected)]);
      torn.close();
    };
    copy(whole);
    for (let cut = whole.length - 1; cut >= before; cut--) {
      truncateSync(join(place, "tails", basename(tail)), cut);
      const { segments, tornBytes } = readTail(place, writer.lineage);
      expect([segments.length, tornBytes], `cut at ${cut}`).toEqual([20, cut - before]);
    }
    for (const cut of [before, before + 7, before + 8, whole.length - 1, whole.length]) {
      copy(whole.subarray(0, cut));
      const isWhole = cut === whole.length;
      check(isWhole ? 21 : 20, isWhole ? 0 : cut - before, `cut at ${cut}`);
    }
    // Bytes that a write has not filled, and a flipped bit: what is behind them goes, too.
    copy(Buffer.concat([whole, Buffer.alloc(100)]));
    check(21, 100, "zeros behind it");
    const seed = Math.floor(Date.now() % 2 ** 31);
    const flipped = Buffer.from(whole);
    const at = before + new Prng(seed).below(whole.length - before);
    flipped[at] = (flipped[at] ?? 0) ^ 4;
    copy(flipped);
    check(20, whole.length - before, `seed ${seed}`);
    store.close();
  });

  it("a torn write-ahead log is cut back to the last whole commit, and said so", () => {
    const store = openLogStore(directory);
    const writer = store.openLineage(store.createLineage(lineage()).id);
    const wal = `${database}-wal`;
    for (let i = 0; i < 20; i++) writer.setConfig(Uint8Array.of(i));
    const before = statSync(wal).size;
    writer.setConfig(Uint8Array.of(20));
    const after = statSync(wal).size;
    const place = join(root, "torn");
    const random = new Prng(1);
    const cuts = Array.from({ length: CUTS }, () => before + random.below(after - before));
    const config = (cut: number): number => (cut < after ? 19 : 20);
    for (const cut of [before, before + 1, before + 24, after - 1, after, after + 8216, ...cuts]) {
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place);
      copyFileSync(database, join(place, "store.db"));
      copyFileSync(wal, join(place, "store.db-wal"));
      truncateSync(join(place, "store.db-wal"), cut);
      const torn = openLogStore(place);
      const found = torn.findLineage(writer.lineage)?.config;
      expect(found, `cut at ${cut}`).toEqual(Uint8Array.of(config(cut)));
      const cutBytes = cut < after ? cut - before : 0;
      if (cut <= after) expect(torn.tornTail?.cutBytes ?? 0, `cut at ${cut}`).toBe(cutBytes);
      expect(finish(torn.verify()).problems).toEqual([]);
      torn.openLineage(writer.lineage).setConfig(Uint8Array.of(21));
      torn.close();
    }
    store.close();
  });
});

function lineage() {
  return { name: "web", config: new Uint8Array(2), fingerprint: new Uint8Array(2) };
}

it("the workload's state is recognised", () => {
  fill(30);
  const store = openLogStore(directory);
  expect(workloadProblem(store, 30, 30)).toBeUndefined();
  expect(workloadProblem(store, 31, 40)).toBeDefined();
  store.close();
});
