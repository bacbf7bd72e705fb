/**
 * Databases of every released form are read, renewed and whole. Where the form has changed, run
 * this file once with DEJAVM_WRITE_GOLDEN=1: it adds one of the new form.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import { CHUNK_BYTES, position, ticks } from "@dejavm/machine";
import Database from "better-sqlite3";
import { afterAll, beforeAll, expect, it } from "vitest";
import { finish, type LineageId, type LogStore } from "../log-store.ts";
import { pageBytes, TestTrace } from "../test-support/test-trace.ts";
import { SCHEMA_VERSION } from "./schema.ts";
import { openLogStore } from "./sqlite-log-store.ts";

const FOLDER = fileURLToPath(new URL("../test-support/golden/", import.meta.url));
const LINEAGE = "golden-lineage" as LineageId;
const SEGMENTS = 70;

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-golden-"));
});
afterAll(() => rmSync(directory, { recursive: true }));

function goldenPath(version: number): string {
  return join(FOLDER, `store-v${version}.db.zst`);
}

/** What every golden database holds; it may only grow by what a new form adds. */
function fill(store: LogStore): void {
  const description = { config: Uint8Array.of(1, 2), fingerprint: Uint8Array.of(3) };
  const { id } = store.createLineage({ id: LINEAGE, name: "golden", ...description });
  const writer = store.openLineage(id);
  const trace = new TestTrace();
  writer.append(Array.from({ length: SEGMENTS }, (_, i) => trace.segment(i)));
  writer.compact();
  writer.append([trace.segment(SEGMENTS)]);
  const place = { position: position(7n), ticks: ticks(8n), memoryPages: 100 };
  const state = Uint8Array.of(4, 5, 6);
  const first = writer.beginCheckpoint({ ...place, trace: trace.pointAt(0), state });
  first.putPages(Uint32Array.of(1, 50), pageBytes(2, 1));
  first.putChunks([{ disk: 0, chunk: 3, bytes: new Uint8Array(CHUNK_BYTES).fill(9) }]);
  const parent = first.commit().id;
  const second = writer.beginCheckpoint({ ...place, trace: trace.pointAt(30), state, parent });
  second.putPages(Uint32Array.of(50), pageBytes(1, 2));
  second.commit();
  writer.recordOwnership({ epoch: 2, state: "offering", peer: "wss://peer", detail: "{}" });
  writer.addReport({ kind: "migration", json: '{"downtimeMs":9}' });
  writer.release();
}

function check(store: LogStore): void {
  expect(finish(store.verify())).toMatchObject({ problems: [], checkpoints: 2, contents: 4 });
  const info = store.findLineage("golden");
  expect(info).toMatchObject({ id: LINEAGE, config: Uint8Array.of(1, 2) });
  expect(info?.ownership).toMatchObject({ epoch: 2, state: "offering", peer: "wss://peer" });
  expect(store.reports(LINEAGE)).toMatchObject([{ json: '{"downtimeMs":9}' }]);
  expect(store.traceEnd(LINEAGE)?.sequence).toBe(SEGMENTS + 1);
  const second = store.checkpoints(LINEAGE).at(-1);
  expect(second).toMatchObject({ position: 7n, changes: 1 });
  if (second === undefined) return;
  const reader = store.openCheckpoint(second.id);
  expect(Buffer.compare(reader.readPages(Uint32Array.of(50)), pageBytes(1, 2))).toBe(0);
  expect(reader.readPages(Uint32Array.of(1))).toEqual(pageBytes(2, 1).slice(0, 4096));
  expect(reader.readChunk(0, 3)?.[99]).toBe(9);
  expect(reader.state).toEqual(Uint8Array.of(4, 5, 6));
}

it("[LS11] a new store holds the same as the golden ones", () => {
  const path = join(directory, "new");
  const store = openLogStore(path, { now: () => 1_700_000_000_000 });
  fill(store);
  check(store);
  store.close();
  if (process.env["DEJAVM_WRITE_GOLDEN"] !== "1") return;
  const golden = goldenPath(SCHEMA_VERSION);
  expect(existsSync(golden), `${golden} is there; released forms do not change`).toBe(false);
  writeFileSync(golden, zstdCompressSync(readFileSync(join(path, "store.db"))));
});

it.each(Array.from({ length: SCHEMA_VERSION }, (_, i) => i + 1))(
  "[LS11] a database of form %i is renewed, whole and writable",
  (version) => {
    const path = join(directory, `v${version}`);
    mkdirSync(path);
    const bytes = zstdDecompressSync(readFileSync(goldenPath(version)));
    writeFileSync(join(path, "store.db"), bytes);
    const reader = openLogStore(path, { mode: "read" });
    check(reader);
    reader.close();
    const store = openLogStore(path);
    const writer = store.openLineage(LINEAGE);
    writer.append([new TestTrace().segment(SEGMENTS + 1)]);
    finish(store.gc());
    store.close();
    const plain = new Database(join(path, "store.db"));
    expect(plain.pragma("user_version", { simple: true })).toBe(SCHEMA_VERSION);
    plain.close();
    const again = openLogStore(path, { mode: "read" });
    expect(finish(again.verify()).problems).toEqual([]);
    again.close();
  },
);
