/** What every `LogStore` does: one suite, run on each implementation. */
import { CodedError, Prng } from "@dejavm/base";
import { CHUNK_BYTES, PAGE_BYTES, position, ticks } from "@dejavm/machine";
import {
  MAX_SEGMENT_BYTES,
  type Segment,
  type TracePoint,
  TraceReader,
  type TraceUnit,
} from "@dejavm/trace";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { makePack, sha256 } from "../content-pack.ts";
import { exportLineage } from "../export/export-lineage.ts";
import { importLineage } from "../export/import-lineage.ts";
import { HOST_CODECS } from "../host-codecs.ts";
import {
  type CheckpointId,
  finish,
  type LineageWriter,
  type LogStore,
  type NewCheckpoint,
} from "../log-store.ts";
import { PackedPuts } from "../packer/packed-puts.ts";
import { pageBytes, TestTrace } from "./test-trace.ts";

/** A place that stores can be opened on, several at once and one after the other. */
export interface StorePlace {
  readonly open: () => LogStore;
  /** What the death of all processes that have it open does. */
  readonly crash: () => void;
  readonly remove: () => void;
}

/** A lineage's beginning, for tests that do not care. */
const PLAIN = {
  config: Uint8Array.of(1, 2, 3),
  fingerprint: Uint8Array.of(4, 5),
} as const;

const TRACE = new TestTrace();
const segment = (sequence: number): Segment => TRACE.segment(sequence);
const pointAt = (sequence: number): TracePoint => TRACE.pointAt(sequence);

/** The records from a unit on, checked as a replay would. */
function recordsOf(segments: Iterable<Segment>, from: number): readonly TraceUnit[] {
  const reader = new TraceReader({ codecs: HOST_CODECS, at: pointAt(from) });
  return [...segments].flatMap(({ bytes }) => reader.read(bytes));
}

/** A checkpoint's beginning, for tests that do not care. */
function checkpointAt(sequence: number, parent?: CheckpointId): NewCheckpoint {
  return {
    position: position(BigInt(sequence) * 1000n),
    ticks: ticks(BigInt(sequence)),
    trace: pointAt(sequence),
    memoryPages: 1024,
    state: Uint8Array.of(sequence & 0xff, 7),
    ...(parent === undefined ? {} : { parent }),
  };
}

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

/** Registers the suite for one implementation. */
export function registerLogStoreContract(name: string, makePlace: () => StorePlace): void {
  let place: StorePlace;
  let store: LogStore;
  let writer: LineageWriter;

  beforeEach(() => {
    place = makePlace();
    store = place.open();
    writer = store.openLineage(store.createLineage({ name: "web", ...PLAIN }).id);
  });
  afterEach(() => {
    store.close();
    place.remove();
  });

  const reopen = (): void => {
    store.close();
    store = place.open();
  };

  describe(`${name}: lineages`, () => {
    it("[LS1] lists what was created, in order of names, also after opening it again", () => {
      const forkedFrom = { lineage: writer.lineage, position: position(1n << 60n) };
      const made = store.createLineage({ name: "api", ...PLAIN, forkedFrom });
      reopen();
      expect(store.lineages().map((each) => each.name)).toEqual(["api", "web"]);
      expect(store.findLineage("api")).toEqual(made);
      expect(store.findLineage(made.id)).toEqual(made);
      expect(made).toMatchObject({ ...PLAIN, forkedFrom, ownership: undefined });
      expect(store.findLineage("nobody")).toBeUndefined();
    });

    it("[LS1] refuses names and ids that are taken or that cannot be", () => {
      const again = (what: object) =>
        codeOf(() => store.createLineage({ ...PLAIN, name: "x", ...what }));
      expect(again({ name: "web" })).toBe("E_STORE_NAME_TAKEN");
      expect(again({ id: writer.lineage })).toBe("E_STORE_EXISTS");
      expect(again({ name: "../web" })).toBe("E_STORE_NAME");
      expect(again({ name: "" })).toBe("E_STORE_NAME");
      expect(again({ id: "short" })).toBe("E_STORE_NAME");
      expect(again({ config: new Uint8Array((1 << 20) + 1) })).toBe("E_STORE_LIMIT");
      expect(store.lineages()).toHaveLength(1);
    });

    it("[LS2] has one writer at a time, who is free again after release, close and death", () => {
      const id = writer.lineage;
      const other = place.open();
      expect(codeOf(() => other.openLineage(id))).toBe("E_STORE_BUSY");
      expect(codeOf(() => store.openLineage(id))).toBe("E_STORE_BUSY");
      expect(codeOf(() => other.removeLineage(id))).toBe("E_STORE_BUSY");
      expect(other.isInUse(id)).toBe(true);
      writer.release();
      expect(other.isInUse(id)).toBe(false);
      other.openLineage(id);
      expect(codeOf(() => writer.append([segment(0)]))).toBe("E_STORE_CLOSED");
      other.close();
      store.openLineage(id);
      place.crash();
      store = place.open();
      store.openLineage(id).append([segment(0)]);
    });

    it("[LS1] removes a lineage with all that is its own", () => {
      writer.append([segment(0)]);
      writer.release();
      store.removeLineage(writer.lineage);
      expect(store.lineages()).toEqual([]);
      expect(codeOf(() => store.traceEnd(writer.lineage))).toBe("E_STORE_UNKNOWN");
      expect(codeOf(() => store.openLineage(writer.lineage))).toBe("E_STORE_UNKNOWN");
      store.createLineage({ name: "web", id: writer.lineage, ...PLAIN });
      expect(store.traceEnd(writer.lineage)).toBeUndefined();
    });

    it("[LS3] keeps every transition of ownership; the epoch never falls", () => {
      const record = { epoch: 1, state: "live", peer: "", detail: "" } as const;
      writer.recordOwnership(record);
      writer.recordOwnership({ ...record, epoch: 2, state: "offering", peer: "wss://b:1" });
      expect(codeOf(() => writer.recordOwnership(record))).toBe("E_STORE_EPOCH");
      writer.recordOwnership({ ...record, epoch: 2, state: "moved", detail: '{"why":1}' });
      reopen();
      const history = store.ownershipHistory(writer.lineage);
      expect(history.map(({ state, epoch }) => `${state} ${epoch}`)).toEqual([
        "live 1",
        "offering 2",
        "moved 2",
      ]);
      expect(store.findLineage("web")?.ownership).toEqual(history[2]);
    });

    it("[LS3] gets ready for a transition while the trace goes on", async () => {
      const units = 5000;
      for (let i = 0; i < units; i++) writer.append([segment(i)]);
      const prepared = writer.prepareOwnership();
      const want = (count: number) =>
        recordsOf(
          Array.from({ length: count }, (_, i) => segment(i)),
          0,
        );
      // In the middle of it nothing is missing and nothing comes twice.
      expect(recordsOf(store.readTrace(writer.lineage, 0), 0)).toEqual(want(units));
      writer.append([segment(units)]);
      await prepared;
      writer.recordOwnership({ epoch: 1, state: "live", peer: "", detail: "" });
      expect(writer.traceEnd?.sequence).toBe(units + 1);
      reopen();
      expect(recordsOf(store.readTrace(writer.lineage, 0), 0)).toEqual(want(units + 1));
      writer.release();
      await expect(writer.prepareOwnership()).rejects.toMatchObject({ code: "E_STORE_CLOSED" });
    });

    it("[LS1] keeps reports and a changed configuration", () => {
      writer.addReport({ kind: "migration", json: '{"downtimeMs":12}' });
      writer.setConfig(Uint8Array.of(9));
      reopen();
      expect(store.reports(writer.lineage)).toMatchObject([{ json: '{"downtimeMs":12}' }]);
      expect(store.findLineage("web")?.config).toEqual(Uint8Array.of(9));
    });
  });

  describe(`${name}: trace`, () => {
    it("[LS4] gives back what was appended, from any unit on, across compaction", () => {
      const segments = Array.from({ length: 300 }, (_, i) => segment(i + 5));
      for (let i = 0; i < segments.length; i += 3) {
        writer.append(segments.slice(i, i + 3));
        if (i % 60 === 0) writer.compact();
      }
      const end = { sequence: 305, ...segments[299]?.header.to, chain: pointAt(305).chain };
      expect(writer.traceEnd).toEqual(end);
      reopen();
      for (const from of [5, 6, 64, 65, 150, 303, 304]) {
        const want = recordsOf(segments.slice(from - 5), from);
        expect(want).toHaveLength(305 - from);
        expect(recordsOf(store.readTrace(writer.lineage, from), from)).toEqual(want);
      }
      expect([...store.readTrace(writer.lineage, 0)][0]?.header.sequence).toBe(5);
      expect([...store.readTrace(writer.lineage, 305)]).toEqual([]);
      expect(store.traceEnd(writer.lineage)).toEqual(end);
    });

    it("[LS4] appends in order only; a gap must be declared", () => {
      writer.append([segment(0), segment(1)]);
      const append = (...numbers: number[]) =>
        codeOf(() => writer.append(numbers.map((number) => segment(number))));
      expect(append(1)).toBe("E_STORE_SEQUENCE");
      expect(append(3)).toBe("E_STORE_SEQUENCE");
      expect(append(2, 4)).toBe("E_STORE_SEQUENCE");
      expect(writer.traceEnd?.sequence).toBe(2);
      writer.append([segment(7), segment(8)], { afterGap: true });
      expect(codeOf(() => writer.append([segment(3)], { afterGap: true }))).toBe(
        "E_STORE_SEQUENCE",
      );
      expect([...store.readTrace(writer.lineage, 1)].map(({ header }) => header.sequence)).toEqual([
        1, 7, 8,
      ]);
    });

    it("[LS4] takes segments and positions up to their limits", () => {
      const upTo = (place: bigint, size = 1): Segment => {
        const { header } = segment(0);
        const to = { ...header.to, position: place };
        return { header: { ...header, to }, bytes: new Uint8Array(size) };
      };
      const large = upTo((1n << 63n) - 1n, MAX_SEGMENT_BYTES);
      const larger = upTo(1n, MAX_SEGMENT_BYTES + 1);
      expect(codeOf(() => writer.append([larger]))).toBe("E_STORE_LIMIT");
      expect(codeOf(() => writer.append([upTo(1n << 63n)]))).toBe("E_STORE_LIMIT");
      writer.append([large]);
      const [read] = store.readTrace(writer.lineage, 0);
      expect(Buffer.compare(read?.bytes ?? Buffer.alloc(0), large.bytes)).toBe(0);
      expect(read?.header).toEqual(large.header);
    });

    it("[LS5] lets others read while it is written", () => {
      const other = place.open();
      const reader = new TraceReader({ codecs: HOST_CODECS, at: pointAt(0) });
      const reading = other.readTrace(writer.lineage, 0)[Symbol.iterator]();
      const read = (): number[] => {
        const step = reading.next();
        if (step.done === true) return [];
        return reader.read(step.value.bytes).map(({ sequence }) => sequence);
      };
      writer.append([segment(0)]);
      expect(read()).toEqual([0]);
      writer.append(Array.from({ length: 100 }, (_, i) => segment(i + 1)));
      writer.compact();
      writer.append([segment(101)]);
      const rest = [];
      for (let more = read(); more.length > 0; more = read()) rest.push(...more);
      expect(rest).toEqual(Array.from({ length: 101 }, (_, i) => i + 1));
      other.close();
    });
  });

  describe(`${name}: checkpoints`, () => {
    const pages = Uint32Array.of(3, 500, 7, 1023);

    it("[LS6] gives back pages in any order, zero ones too, and chunks", () => {
      const bytes = pageBytes(4, 1);
      bytes.fill(0, PAGE_BYTES, 2 * PAGE_BYTES);
      const chunk = new Prng(2).fill(new Uint8Array(CHUNK_BYTES));
      const open = writer.beginCheckpoint(checkpointAt(4));
      open.putPages(pages, bytes);
      open.putChunks([
        { disk: 1, chunk: 9, bytes: chunk },
        { disk: 0, chunk: 70_000, bytes: undefined },
      ]);
      expect(store.checkpoints(writer.lineage)).toEqual([]);
      expect(codeOf(() => store.openCheckpoint(open.id))).toBe("E_STORE_UNKNOWN");
      const info = open.commit();
      reopen();
      expect(store.checkpoints(writer.lineage)).toEqual([info]);
      const reader = store.openCheckpoint(info.id);
      expect(reader.info).toEqual(info);
      expect(reader.state).toEqual(checkpointAt(4).state);
      expect(reader.pages).toEqual(Uint32Array.of(3, 7, 1023));
      const page = (i: number) => bytes.subarray(i * PAGE_BYTES, (i + 1) * PAGE_BYTES);
      expect(reader.readPages(Uint32Array.of(7, 500, 3, 0))).toEqual(
        new Uint8Array(Buffer.concat([page(2), page(1), page(0), new Uint8Array(PAGE_BYTES)])),
      );
      const hashes = Buffer.concat([sha256(page(3)), new Uint8Array(32)]);
      expect(reader.pageHashes(Uint32Array.of(1023, 500))).toEqual(new Uint8Array(hashes));
      expect(reader.chunks).toEqual([
        { disk: 0, chunk: 70_000 },
        { disk: 1, chunk: 9 },
      ]);
      expect(reader.readChunk(1, 9)).toEqual(chunk);
      expect(reader.readChunk(0, 70_000)).toEqual(new Uint8Array(CHUNK_BYTES));
      expect(reader.readChunk(0, 1)).toBeUndefined();
    });

    it("[LS6] stores what changed since the parent, and knows what that is", () => {
      const full = writer.beginCheckpoint(checkpointAt(0));
      full.putPages(pages, pageBytes(4, 1));
      const base = full.commit();
      const next = writer.beginCheckpoint(checkpointAt(1, base.id));
      next.putPages(Uint32Array.of(500, 8), pageBytes(2, 2));
      next.putZeroPages(Uint32Array.of(3));
      const info = next.commit();
      expect(info).toMatchObject({ parent: base.id, changes: 3 });
      const reader = store.openCheckpoint(info.id);
      expect(reader.pages).toEqual(Uint32Array.of(7, 8, 500, 1023));
      expect(reader.readPages(Uint32Array.of(500))).toEqual(pageBytes(2, 2).slice(0, PAGE_BYTES));
      expect(reader.readPages(Uint32Array.of(3))).toEqual(new Uint8Array(PAGE_BYTES));
      expect(reader.pagesChangedSince(base.id)).toEqual(Uint32Array.of(3, 8, 500));
      expect(store.openCheckpoint(base.id).pagesChangedSince(info.id)).toEqual(
        Uint32Array.of(3, 8, 500),
      );
      expect(store.openCheckpoint(base.id).readPages(pages)).toEqual(pageBytes(4, 1));
    });

    it("[LS6] stores equal contents once, whoever has them", () => {
      const first = writer.beginCheckpoint(checkpointAt(0));
      first.putPages(pages, pageBytes(4, 1));
      first.commit();
      const alone = store.lineageBytes(writer.lineage);
      const fork = store.openLineage(store.createLineage({ name: "fork", ...PLAIN }).id);
      const second = fork.beginCheckpoint(checkpointAt(0));
      second.putPages(Uint32Array.of(10, 11, 12, 13), pageBytes(4, 1));
      second.commit();
      expect(finish(store.verify()).contents).toBe(4);
      expect(store.lineageBytes(writer.lineage)).toBe(alone);
    });

    it("[LS6] takes packs of other threads and references to what it has", () => {
      const bytes = pageBytes(4, 1);
      const pack = makePack(PAGE_BYTES, bytes);
      const open = writer.beginCheckpoint(checkpointAt(0));
      open.putPackedPages(pages, pack);
      const unknown = sha256(Uint8Array.of(1));
      const hashes = new Uint8Array(Buffer.concat([pack.hashes.subarray(32, 64), unknown]));
      expect(open.referPages(Uint32Array.of(20, 21), hashes)).toEqual(Uint32Array.of(21));
      const reader = store.openCheckpoint(open.commit().id);
      expect(reader.readPages(pages)).toEqual(bytes);
      expect(reader.readPages(Uint32Array.of(20))).toEqual(bytes.slice(PAGE_BYTES, 2 * PAGE_BYTES));
      expect(store.hasContents(hashes)).toEqual([true, false]);
      expect(store.readContent(hashes.subarray(0, 32))).toEqual(
        bytes.slice(PAGE_BYTES, 2 * PAGE_BYTES),
      );
      expect(store.readContent(unknown)).toBeUndefined();
    });

    it("[LS6] takes puts together: all of them or none", () => {
      const [pack, more] = [makePack(PAGE_BYTES, pageBytes(4, 1)), pageBytes(2, 7)];
      const open = writer.beginCheckpoint(checkpointAt(0));
      open.together(() => {
        open.putPackedPages(pages, pack);
        open.putPages(Uint32Array.of(30, 31), more);
      });
      expect(() =>
        open.together(() => {
          open.putZeroPages(pages);
          open.putPages(Uint32Array.of(40), pageBytes(1, 9));
          throw new Error("no");
        }),
      ).toThrow("no");
      open.putPages(Uint32Array.of(41), pageBytes(1, 11));
      const reader = store.openCheckpoint(open.commit().id);
      expect([...reader.pages]).toEqual([...pages, 30, 31, 41].toSorted((a, b) => a - b));
      expect(reader.readPages(pages)).toEqual(pageBytes(4, 1));
      expect(reader.readPages(Uint32Array.of(30, 31))).toEqual(more);
      expect(finish(store.verify()).problems).toEqual([]);
    });

    it("[LS6] takes puts whose contents a thread hashes and packs, each content once", async () => {
      const first = writer.beginCheckpoint(checkpointAt(0));
      first.putPages(Uint32Array.of(3), pageBytes(1, 1));
      const base = first.commit();
      const open = writer.beginCheckpoint(checkpointAt(1, base.id));
      const puts = new PackedPuts({ checkpoint: open, store });
      const [known, fresh] = [pageBytes(1, 1), pageBytes(1, 2)];
      const zeros = new Uint8Array(PAGE_BYTES);
      const bytes = new Uint8Array(Buffer.concat([known, zeros, fresh, fresh]));
      const chunk = new Prng(5).fill(new Uint8Array(CHUNK_BYTES));
      const chunks = [
        { disk: 0, chunk: 1 },
        { disk: 1, chunk: 2 },
        { disk: 0, chunk: 7 },
      ];
      await Promise.all([
        puts.putPages(Uint32Array.of(9, 3, 11, 12), bytes.slice()),
        // What was put last counts, however long each takes.
        puts.putPages(Uint32Array.of(11), known.slice()),
        puts.putChunks(
          chunks,
          new Uint8Array(Buffer.concat([chunk, chunk, new Uint8Array(CHUNK_BYTES)])),
        ),
      ]);
      const many = Uint32Array.from({ length: 64 }, (_, i) => 100 + i);
      await puts.putPages(many, pageBytes(64, 3));
      const reader = store.openCheckpoint(open.commit().id);
      expect(Buffer.compare(reader.readPages(many), pageBytes(64, 3))).toBe(0);
      const read = reader.readPages(Uint32Array.of(9, 3, 12, 11));
      expect(Buffer.compare(read, Buffer.concat([known, zeros, fresh, known]))).toBe(0);
      expect(chunks.map((name) => reader.readChunk(name.disk, name.chunk))).toEqual([
        chunk,
        chunk,
        new Uint8Array(CHUNK_BYTES),
      ]);
      expect(finish(store.verify())).toMatchObject({ problems: [], contents: 67 });
    });

    it("[LS6] puts on a thread fail with what the store says, and when it closes", async () => {
      const open = writer.beginCheckpoint(checkpointAt(0));
      const puts = new PackedPuts({ checkpoint: open, store });
      const outside = puts.putPages(Uint32Array.of(1024), pageBytes(1, 1));
      await expect(outside).rejects.toMatchObject({ code: "E_STORE_CHECKPOINT" });
      // This one shrinks to a few bytes, which zlib keeps in a pool.
      await puts.putPages(Uint32Array.of(1023), new Uint8Array(PAGE_BYTES).fill(1));
      const late = puts.putPages(Uint32Array.of(1), pageBytes(1, 2));
      store.close();
      await expect(late).rejects.toMatchObject({ code: "E_STORE_CLOSED" });
      store = place.open();
    });

    it("[LS6] folds an open parent into the increment that overtakes it", () => {
      const open = writer.beginCheckpoint(checkpointAt(0));
      open.putPages(Uint32Array.of(1, 2), pageBytes(2, 1));
      const staged = writer.beginCheckpoint(checkpointAt(1, open.id));
      staged.putPages(Uint32Array.of(2, 3), pageBytes(2, 2));
      const info = staged.commit();
      expect(info.parent).toBeUndefined();
      expect(codeOf(() => open.commit())).toBe("E_STORE_CHECKPOINT");
      expect(store.checkpoints(writer.lineage)).toEqual([info]);
      const want = Buffer.concat([pageBytes(2, 1).subarray(0, PAGE_BYTES), pageBytes(2, 2)]);
      const read = store.openCheckpoint(info.id).readPages(Uint32Array.of(1, 2, 3));
      expect(read).toEqual(new Uint8Array(want));
    });

    it("[LS6] forgets what was not committed: abandoned, released, died", () => {
      writer.beginCheckpoint(checkpointAt(0)).abandon();
      writer.beginCheckpoint(checkpointAt(0)).putPages(pages, pageBytes(4, 1));
      writer.release();
      writer = store.openLineage(writer.lineage);
      writer.beginCheckpoint(checkpointAt(0)).putPages(pages, pageBytes(4, 2));
      place.crash();
      store = place.open();
      writer = store.openLineage(writer.lineage);
      expect(store.checkpoints(writer.lineage)).toEqual([]);
      expect(finish(store.gc()).contentsRemoved).toBe(8);
      expect(finish(store.verify())).toMatchObject({ problems: [], contents: 0 });
    });

    it("[LS6] refuses pages outside RAM, wrong sizes and unknown parents", () => {
      const open = writer.beginCheckpoint(checkpointAt(0));
      const put = (numbers: number[], size: number) =>
        codeOf(() => open.putPages(Uint32Array.from(numbers), new Uint8Array(size)));
      expect(put([1024], PAGE_BYTES)).toBe("E_STORE_CHECKPOINT");
      expect(put([1], PAGE_BYTES - 1)).toBe("E_STORE_CHECKPOINT");
      expect(put([1023], PAGE_BYTES)).toBe("no error");
      const small = { disk: 0, chunk: 0, bytes: new Uint8Array(1) };
      expect(codeOf(() => open.putChunks([small]))).toBe("E_STORE_CHECKPOINT");
      open.commit();
      expect(put([1], PAGE_BYTES)).toBe("E_STORE_CHECKPOINT");
      const stranger = (open.id + 100) as typeof open.id;
      expect(codeOf(() => writer.beginCheckpoint(checkpointAt(1, stranger)))).toBe(
        "E_STORE_UNKNOWN",
      );
    });
  });

  describe(`${name}: retention`, () => {
    it("[LS7] thins out, then drops the oldest with its trace; the newest stays", () => {
      let parent: CheckpointId | undefined;
      for (let i = 0; i < 30; i++) {
        const open = writer.beginCheckpoint(checkpointAt(i * 10, parent));
        open.putPages(Uint32Array.of(i, 1000), pageBytes(2, i + 1));
        parent = open.commit().id;
        writer.append(Array.from({ length: 10 }, (_, k) => segment(i * 10 + k)));
      }
      const all = store.lineageBytes(writer.lineage);
      expect(writer.retain({ maxBytes: all })).toMatchObject({ checkpointsRemoved: 0 });
      const report = writer.retain({ maxBytes: all / 2 });
      expect(report.bytes).toBeLessThanOrEqual(all / 2);
      const kept = store.checkpoints(writer.lineage);
      expect(kept.length).toBe(30 - report.checkpointsRemoved);
      const pages = Uint32Array.from({ length: 30 }, (_, i) => i);
      for (const { id } of kept) {
        const reader = store.openCheckpoint(id);
        reader.readPages(pages);
        reader.close();
      }
      expect(writer.retain({ maxBytes: 0 }).bytes).toBeGreaterThan(0);
      const [last, ...others] = store.checkpoints(writer.lineage);
      expect(others).toEqual([]);
      expect(last).toMatchObject({ id: parent, trace: { sequence: 290 } });
      const trace = [...store.readTrace(writer.lineage, 0)].map(({ header }) => header.sequence);
      expect(trace).toEqual([290, 291, 292, 293, 294, 295, 296, 297, 298, 299]);
      finish(store.gc());
      const reader = store.openCheckpoint(last?.id ?? (0 as CheckpointId));
      expect(reader.readPages(Uint32Array.of(0))).toEqual(pageBytes(1, 1));
      expect(finish(store.verify())).toMatchObject({ problems: [], contents: 31 });
    });

    it("[LS7] never frees what a reader of this process may want", () => {
      const first = writer.beginCheckpoint(checkpointAt(0));
      first.putPages(Uint32Array.of(1, 2), pageBytes(2, 1));
      const reader = store.openCheckpoint(first.commit().id);
      writer.beginCheckpoint(checkpointAt(1)).commit();
      expect(writer.retain({ maxBytes: 0 }).checkpointsRemoved).toBe(1);
      finish(store.gc());
      expect(reader.readPages(Uint32Array.of(1, 2))).toEqual(pageBytes(2, 1));
      reader.close();
      expect(finish(store.gc()).contentsRemoved).toBe(2);
    });

    it("[LS7] never frees what an open checkpoint has put", () => {
      const first = writer.beginCheckpoint(checkpointAt(0));
      first.putPages(Uint32Array.of(1), pageBytes(1, 1));
      first.commit();
      const open = writer.beginCheckpoint(checkpointAt(1));
      open.putPages(Uint32Array.of(5), pageBytes(1, 1));
      open.putPages(Uint32Array.of(6), pageBytes(1, 2));
      writer.retain({ maxBytes: 0 });
      finish(store.gc());
      const { id } = open.commit();
      writer.retain({ maxBytes: 0 });
      finish(store.gc());
      expect(store.openCheckpoint(id).readPages(Uint32Array.of(5))).toEqual(pageBytes(1, 1));
    });
  });

  describe(`${name}: export and import`, () => {
    const exported = (): Buffer => {
      const pieces: Uint8Array[] = [];
      finish(exportLineage(store, "web", (piece) => pieces.push(piece.slice())));
      return Buffer.concat(pieces);
    };
    const readerOf = (bytes: Uint8Array) => {
      let at = 0;
      return (count: number) => bytes.subarray(at, (at += Math.min(count, bytes.length - at)));
    };
    const fill = (): void => {
      let parent: CheckpointId | undefined;
      for (let i = 0; i < 3; i++) {
        const open = writer.beginCheckpoint(checkpointAt(i * 2, parent));
        open.putPages(Uint32Array.of(i, i + 1, 900), pageBytes(3, i));
        open.putPages(Uint32Array.of(77), pageBytes(1, 0));
        if (i === 1) open.putZeroPages(Uint32Array.of(0));
        const bytes = new Uint8Array(CHUNK_BYTES).fill(i);
        open.putChunks([{ disk: 0, chunk: i, bytes }]);
        parent = open.commit().id;
        writer.append([segment(i * 2), segment(i * 2 + 1)]);
      }
      writer.recordOwnership({ epoch: 3, state: "live", peer: "", detail: "" });
      writer.addReport({ kind: "migration", json: "{}" });
    };

    it("[LS9] a lineage comes in as it was, as a copy", () => {
      fill();
      const bytes = exported();
      expect(bytes.toString("latin1", 0, 80)).toContain("may hold secrets");
      const elsewhere = makePlace();
      const other = elsewhere.open();
      const info = finish(importLineage(other, readerOf(bytes), "web2"));
      expect(info).toMatchObject({ id: writer.lineage, name: "web2", ...PLAIN });
      expect(info.ownership).toMatchObject({ epoch: 3, state: "copy" });
      expect([...other.readTrace(info.id, 0)]).toEqual([...store.readTrace(info.id, 0)]);
      const theirs = other.checkpoints(info.id).map(({ id }) => other.openCheckpoint(id));
      const ours = store.checkpoints(info.id).map(({ id }) => store.openCheckpoint(id));
      expect(theirs).toHaveLength(3);
      const all = Uint32Array.from({ length: 1024 }, (_, i) => i);
      for (const [i, mine] of ours.entries()) {
        const their = theirs[i];
        expect(their?.state).toEqual(mine.state);
        expect(their?.pages).toEqual(mine.pages);
        expect(their?.pageHashes(all)).toEqual(mine.pageHashes(all));
        expect(their?.chunks).toEqual(mine.chunks);
        const chunk = mine.readChunk(0, i) ?? Buffer.alloc(0);
        expect(Buffer.compare(their?.readChunk(0, i) ?? Buffer.alloc(1), chunk)).toBe(0);
        expect(their?.info).toMatchObject({ position: mine.info.position, trace: mine.info.trace });
      }
      expect(finish(other.verify()).problems).toEqual([]);
      expect(codeOf(() => finish(importLineage(other, readerOf(bytes), "x")))).toBe(
        "E_STORE_EXISTS",
      );
      other.close();
      elsewhere.remove();
    });

    it("[LS9] whatever is wrong with the file is a coded error, and nothing is kept", () => {
      fill();
      const bytes = exported();
      writer.release();
      store.removeLineage(writer.lineage);
      const seed = Math.floor(Date.now() % 2 ** 31);
      const prng = new Prng(seed);
      const codes = new Set<string>();
      for (let i = 0; i < 40; i++) {
        const damaged = Buffer.from(bytes);
        const at = prng.below(bytes.length);
        damaged[at] = (damaged[at] ?? 0) ^ (1 << prng.below(8));
        const cut = prng.oneIn(3) ? damaged.subarray(0, at) : damaged;
        const code = codeOf(() => finish(importLineage(store, readerOf(cut))));
        expect(code, `seed ${seed}, byte ${at}`).toMatch(/^E_STORE_/);
        codes.add(code);
        expect(store.lineages()).toEqual([]);
      }
      expect(codes).toContain("E_STORE_CORRUPT");
      finish(store.gc());
      expect(finish(store.verify())).toMatchObject({ contents: 0, problems: [] });
      finish(importLineage(store, readerOf(bytes)));
    });
  });

  it(`${name}: [LS8] syncs, grouped and blocking, and refuses everything once closed`, async () => {
    writer.append([segment(0)]);
    await Promise.all([store.sync(), store.sync()]);
    store.syncNow();
    store.close();
    expect(codeOf(() => store.lineages())).toBe("E_STORE_CLOSED");
    expect(codeOf(() => writer.append([segment(1)]))).toBe("E_STORE_CLOSED");
    store = place.open();
    expect(store.traceEnd(writer.lineage)?.sequence).toBe(1);
  });
}
