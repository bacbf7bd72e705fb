import { PAGE_BYTES, position, ticks } from "@dejavm/machine";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { CheckpointWriter } from "../log-store.ts";
import { MemoryLogStore } from "../memory-log-store.ts";
import { MemoryStorage } from "../memory-storage.ts";
import { pageBytes, TestTrace } from "../test-support/test-trace.ts";
import { PackedPuts, PUTS_UNDER_WAY } from "./packed-puts.ts";

let store: MemoryLogStore;
let open: CheckpointWriter;
/** Pages of each pack that was put. */
let packs: number[][];
let puts: PackedPuts;

beforeEach(() => {
  store = new MemoryLogStore({ storage: new MemoryStorage() });
  const nothing = { config: new Uint8Array(0), fingerprint: new Uint8Array(0) };
  const writer = store.openLineage(store.createLineage({ name: "web", ...nothing }).id);
  open = writer.beginCheckpoint({
    position: position(0n),
    ticks: ticks(0n),
    trace: new TestTrace().pointAt(0),
    memoryPages: 64,
    state: new Uint8Array(0),
  });
  packs = [];
  const put = open.putPackedPages.bind(open);
  open.putPackedPages = (pages, pack) => {
    put(pages, pack);
    packs.push([...pages]);
  };
  puts = new PackedPuts({ checkpoint: open, store });
});

afterEach(() => store.close());

function read(...pages: number[]): Uint8Array {
  return store.openCheckpoint(open.commit().id).readPages(Uint32Array.from(pages));
}

it("[LS6] a content of a put under way is not packed again", async () => {
  await Promise.all([
    puts.putPages(Uint32Array.of(1, 2), pageBytes(2, 1)),
    puts.putPages(
      Uint32Array.of(3, 4, 5),
      new Uint8Array([...pageBytes(2, 1), ...pageBytes(1, 9)]),
    ),
    puts.putPages(Uint32Array.of(6), pageBytes(1, 9)),
  ]);
  expect(packs).toEqual([[1, 2], [5]]);
  const wanted = [...pageBytes(2, 1), ...pageBytes(1, 9), ...pageBytes(1, 9)];
  expect(read(3, 4, 5, 6)).toEqual(new Uint8Array(wanted));
});

it("[LS6] it is packed after all where that put fails", async () => {
  const failing = puts.putPages(Uint32Array.of(64), pageBytes(1, 1));
  const same = puts.putPages(Uint32Array.of(1), pageBytes(1, 1));
  await expect(failing).rejects.toMatchObject({ code: "E_STORE_CHECKPOINT" });
  await same;
  expect(packs).toEqual([[1]]);
  expect(read(1)).toEqual(pageBytes(1, 1));
});

it("[LS6] so it is where the store has lost it between looking and writing", async () => {
  const has = store.hasContents.bind(store);
  store.hasContents = (hashes) => has(hashes).map(() => true);
  await puts.putPages(Uint32Array.of(1, 2), new Uint8Array([...pageBytes(1, 1), ...zeros()]));
  expect(packs).toEqual([[1]]);
  expect(read(1, 2)).toEqual(new Uint8Array([...pageBytes(1, 1), ...zeros()]));
});

it("[LS6] what is ready together is one commit", async () => {
  let commits = 0;
  const together = open.together.bind(open);
  open.together = (body) => {
    commits++;
    together(body);
  };
  const pages = Array.from({ length: PUTS_UNDER_WAY }, (_, i) => i);
  await Promise.all(
    pages.map((page) => puts.putPages(Uint32Array.of(page), pageBytes(1, page + 1))),
  );
  expect(commits).toBeLessThan(PUTS_UNDER_WAY);
  expect(packs).toEqual(pages.map((page) => [page]));
  expect(read(...pages)).toEqual(
    new Uint8Array(pages.flatMap((page) => [...pageBytes(1, page + 1)])),
  );
});

it("[LS6] one that fails does not take those of the same commit with it", async () => {
  const ends = await Promise.allSettled([
    puts.putPages(Uint32Array.of(1), pageBytes(1, 1)),
    puts.putPages(Uint32Array.of(64), pageBytes(1, 2)),
    puts.putPages(Uint32Array.of(3), pageBytes(1, 3)),
  ]);
  expect(ends.map(({ status }) => status)).toEqual(["fulfilled", "rejected", "fulfilled"]);
  expect(read(1, 3)).toEqual(new Uint8Array([...pageBytes(1, 1), ...pageBytes(1, 3)]));
});

function zeros(): Uint8Array {
  return new Uint8Array(PAGE_BYTES);
}
