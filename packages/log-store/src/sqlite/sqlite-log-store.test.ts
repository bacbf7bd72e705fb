import { cpSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate } from "node:timers/promises";
import { position, ticks } from "@dejavm/machine";
import type { Segment } from "@dejavm/trace";
import { expect, it } from "vitest";
import { hashItems } from "../content-pack.ts";
import { finish, type LogStore } from "../log-store.ts";
import { registerLogStoreContract } from "../test-support/contract.ts";
import { pageBytes, TestTrace } from "../test-support/test-trace.ts";
import { openLogStore } from "./sqlite-log-store.ts";

registerLogStoreContract("SQLite", () => {
  const directory = mkdtempSync(join(tmpdir(), "dejavm-store-"));
  let stores: LogStore[] = [];
  return {
    open: () => {
      const store = openLogStore(directory);
      stores.push(store);
      return store;
    },
    // The real thing is in torture tests; without `close` of its writers first it would leave this.
    crash: () => {
      for (const store of stores) store.close();
      stores = [];
    },
    remove: () => rmSync(directory, { recursive: true }),
  };
});

const PAGES = 64;

/** Trace units of segments, which may have been merged. */
function unitsOf(segments: readonly Segment[]): number {
  return segments.reduce((sum, { header }) => sum + header.unitCount, 0);
}

/** A store of its own with one machine. */
function newStore() {
  const directory = mkdtempSync(join(tmpdir(), "dejavm-store-"));
  const store = openLogStore(directory);
  const nothing = { config: new Uint8Array(0), fingerprint: new Uint8Array(0) };
  const writer = store.openLineage(store.createLineage({ name: "web", ...nothing }).id);
  return { directory, store, writer };
}

it("[LS7] frees in the background what retention has dropped", async () => {
  const { directory, store, writer } = newStore();
  const trace = new TestTrace().pointAt(0);
  const place = { position: position(0n), ticks: ticks(0n), trace, memoryPages: PAGES };
  const pages = Uint32Array.from({ length: PAGES }, (_, i) => i);
  for (let i = 1; i <= 3; i++) {
    const open = writer.beginCheckpoint({ ...place, state: new Uint8Array(0) });
    open.putPages(pages, pageBytes(PAGES, i));
    open.commit();
  }
  writer.retain({ maxBytes: 0 });
  const contents = (): number => finish(store.verify()).contents;
  expect(contents()).toBe(3 * PAGES);
  while (contents() > PAGES) await new Promise((resolve) => setTimeout(resolve, 5));
  expect(finish(store.verify())).toMatchObject({ problems: [], contents: PAGES, checkpoints: 1 });
  store.close();
  rmSync(directory, { recursive: true });
});

it("[LS3] gets ready for a transition in steps, and may die between any two of them", async () => {
  const { directory, store, writer } = newStore();
  const trace = new TestTrace();
  const units = 5000;
  for (let i = 0; i < units; i++) writer.append([trace.segment(i)]);
  const ready = writer.prepareOwnership().then(() => true);
  let turns = 0;
  for (let isReady = false; !isReady; turns++) {
    const copy = mkdtempSync(join(tmpdir(), "dejavm-store-"));
    // What is under way in other threads does not change what counts.
    for (const name of ["store.db", "store.db-wal", "tails"]) {
      cpSync(join(directory, name), join(copy, name), { recursive: true });
    }
    const left = openLogStore(copy);
    const again = left.openLineage(writer.lineage);
    expect(again.traceEnd?.sequence).toBe(units);
    expect(unitsOf([...left.readTrace(writer.lineage, 0)])).toBe(units);
    expect(finish(left.verify()).problems).toEqual([]);
    left.close();
    rmSync(copy, { recursive: true });
    isReady = await Promise.race([ready, setImmediate(false)]);
  }
  // Some 2 MB of segments.
  expect(turns).toBeGreaterThan(3);
  store.close();
  rmSync(directory, { recursive: true });
});

it("[LS6] finds contents again after they have gone to the index", () => {
  const { directory, store, writer } = newStore();
  const trace = new TestTrace().pointAt(0);
  // More than wait in memory for the index.
  const memoryPages = 17_000;
  const words = new Uint32Array(memoryPages * 1024);
  for (let page = 0; page < memoryPages; page++) words[page * 1024] = page + 1;
  const bytes = new Uint8Array(words.buffer);
  const pages = Uint32Array.from({ length: memoryPages }, (_, i) => i);
  const place = { position: position(0n), ticks: ticks(0n), trace, memoryPages };
  const open = writer.beginCheckpoint({ ...place, state: new Uint8Array(0) });
  // The first pack is not a full one: nor is the last of what goes to the index.
  for (const [from, to] of [
    [0, 40],
    [40, memoryPages],
  ]) {
    open.putPages(pages.subarray(from, to), bytes.subarray(from * 4096, to * 4096));
  }
  open.commit();
  const later = writer.beginCheckpoint({ ...place, state: new Uint8Array(0) });
  expect(later.referPages(pages, hashItems(4096, bytes))).toHaveLength(0);
  const other = hashItems(4096, new Uint8Array(4096).fill(1));
  expect([...later.referPages(pages.subarray(0, 1), other)]).toEqual([0]);
  store.close();
  rmSync(directory, { recursive: true });
});

it("[LS4] compaction goes on after a restart, and past a damaged segment", () => {
  const directory = mkdtempSync(join(tmpdir(), "dejavm-store-"));
  const nothing = { config: new Uint8Array(0), fingerprint: new Uint8Array(0) };
  const trace = new TestTrace();
  let store = openLogStore(directory);
  const { id } = store.createLineage({ name: "web", ...nothing });
  for (let from = 0; from < 2000; from += 200) {
    const writer = store.openLineage(id);
    writer.append(
      Array.from({ length: 200 }, (_, i) => {
        const segment = trace.segment(from + i);
        const damaged = from + i === 700;
        return damaged ? { ...segment, bytes: segment.bytes.slice(1) } : segment;
      }),
    );
    writer.compact();
    store.close();
    store = openLogStore(directory);
  }
  const { segments, problems } = finish(store.verify());
  // What one merge would have taken with the damaged one stays apart.
  expect(segments).toBeLessThan(600);
  expect(problems).toHaveLength(1);
  store.close();
  rmSync(directory, { recursive: true });
});

it("[LS6] an increment takes up what has changed, not more", () => {
  const { directory, store, writer } = newStore();
  const trace = new TestTrace().pointAt(0);
  const place = { position: position(0n), ticks: ticks(0n), trace, memoryPages: 2048 };
  const pages = Uint32Array.from({ length: 2048 }, (_, i) => i);
  const whole = writer.beginCheckpoint({ ...place, state: new Uint8Array(0) });
  whole.putPages(pages, pageBytes(2048, 1));
  const parent = whole.commit().id;
  const before = store.lineageBytes(writer.lineage);
  const increment = writer.beginCheckpoint({ ...place, state: new Uint8Array(0), parent });
  increment.putPages(pages.subarray(100, 200), pageBytes(100, 2));
  increment.commit();
  const changed = 100 * 4096;
  const grown = store.lineageBytes(writer.lineage) - before;
  expect(grown).toBeGreaterThan(changed);
  expect(grown).toBeLessThan(changed * 1.02);
  store.close();
  rmSync(directory, { recursive: true });
});
