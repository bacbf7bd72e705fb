import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { tornTailOf } from "./wal-tail.ts";

let directory: string;
let wal: Buffer;
/** Where the second last commit ends. */
let before: number;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-wal-"));
  const path = join(directory, "plain.db");
  const database = new Database(path);
  database.pragma("page_size = 512");
  database.pragma("journal_mode = WAL");
  database.exec("CREATE TABLE t (x)");
  const insert = database.prepare("INSERT INTO t VALUES (?)");
  // What lies behind the newest commits is of the time before the log was begun anew.
  for (let i = 0; i < 20; i++) insert.run("x".repeat(300));
  database.pragma("wal_checkpoint(FULL)");
  insert.run("y".repeat(900));
  // SQLite itself says how far it has got.
  const frames = (): number => {
    const query = database.prepare<[], { log: number }>("PRAGMA wal_checkpoint(NOOP)");
    return query.get()?.log ?? 0;
  };
  before = 32 + frames() * (24 + 512);
  insert.run("z".repeat(900));
  const end = 32 + frames() * (24 + 512);
  wal = readFileSync(`${path}-wal`);
  expect(end).toBeLessThan(statSync(`${path}-wal`).size);
  wal = wal.subarray(0, end);
  database.close();
});
afterAll(() => rmSync(directory, { recursive: true }));

it("[LS11] cut at any byte of the last commit, the tail is what comes after the one before", () => {
  expect(tornTailOf(wal)).toBeUndefined();
  for (let size = before; size < wal.length; size++) {
    const want = size === before ? undefined : { keptBytes: before, cutBytes: size - before };
    expect(tornTailOf(wal.subarray(0, size)), `${size} bytes`).toEqual(want);
  }
});

it("[LS11] a flipped bit in the last commit makes all of it a torn tail", () => {
  for (let at = before; at < wal.length; at += 7) {
    const flipped = Buffer.from(wal);
    flipped[at] = (flipped[at] ?? 0) ^ 4;
    expect(tornTailOf(flipped)?.keptBytes ?? before, `byte ${at}`).toBe(before);
  }
});

it("what is no write-ahead log has no tail", () => {
  expect(tornTailOf(new Uint8Array(0))).toBeUndefined();
  expect(tornTailOf(new Uint8Array(5000).fill(7))).toBeUndefined();
  expect(tornTailOf(wal.subarray(0, 31))).toBeUndefined();
});
