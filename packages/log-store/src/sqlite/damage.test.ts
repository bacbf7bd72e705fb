/** Foreign, newer, damaged and unusable stores: coded errors, and nothing lost that was there. */
import {
  appendFileSync,
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
import { join } from "node:path";
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

/** More of everything: DEJAVM_SOAK=20. */
const SOAK = Number(process.env["DEJAVM_SOAK"] ?? 1);
const FLIPS = 16 * SOAK;
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
    expect(found).toBeGreaterThan(FLIPS / 2);
  });

  it("a torn tail is cut back to the last whole commit, and said so", () => {
    const store = openLogStore(directory);
    const writer = store.openLineage(store.createLineage(lineage()).id);
    const trace = new TestTrace();
    const wal = `${database}-wal`;
    for (let i = 0; i < 20; i++) writer.append([trace.segment(i)]);
    const before = statSync(wal).size;
    writer.append([trace.segment(20)]);
    const after = statSync(wal).size;
    const place = join(root, "torn");
    const random = new Prng(1);
    const cuts = Array.from({ length: CUTS }, () => before + random.below(after - before));
    for (const cut of [before, before + 1, before + 23, before + 24, after - 1, after, ...cuts]) {
      rmSync(place, { recursive: true, force: true });
      mkdirSync(place);
      copyFileSync(database, join(place, "store.db"));
      copyFileSync(wal, join(place, "store.db-wal"));
      truncateSync(join(place, "store.db-wal"), cut);
      const torn = openLogStore(place);
      const expected = cut === after ? 21 : 20;
      expect(torn.traceEnd(writer.lineage)?.sequence, `cut at ${cut}`).toBe(expected);
      const cutBytes = cut === after ? 0 : cut - before;
      expect(torn.tornTail?.cutBytes ?? 0, `cut at ${cut}`).toBe(cutBytes);
      expect(finish(torn.verify()).problems).toEqual([]);
      torn.openLineage(writer.lineage).append([trace.segment(expected)]);
      torn.close();
    }
    store.close();
  });

  it("bytes that a write has not filled are cut off, too", () => {
    const store = openLogStore(directory);
    const writer = store.openLineage(store.createLineage(lineage()).id);
    writer.append([new TestTrace().segment(0)]);
    const place = join(root, "torn");
    mkdirSync(place);
    copyFileSync(database, join(place, "store.db"));
    copyFileSync(`${database}-wal`, join(place, "store.db-wal"));
    store.close();
    appendFileSync(join(place, "store.db-wal"), Buffer.alloc(8216));
    const torn = openLogStore(place);
    expect(torn.traceEnd(writer.lineage)?.sequence).toBe(1);
    expect(finish(torn.verify()).problems).toEqual([]);
    torn.close();
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
