/**
 * Takes a lineage in from a portable file. Nothing in the file is believed: sizes, checksums,
 * hashes, order and the trace's chain are checked, and if anything is wrong nothing is kept.
 */
import { CHUNK_BYTES, type FieldReader, PAGE_BYTES, position, ticks } from "@dejavm/machine";
import { openSegment, type TracePoint } from "@dejavm/trace";
import { ChainCheck } from "../chain-check.ts";
import {
  type ContentPack,
  checkPack,
  HASH_BYTES,
  MAX_PACK_ITEMS,
  unpack,
} from "../content-pack.ts";
import { HOST_CODECS } from "../host-codecs.ts";
import {
  MAX_CHAIN_BYTES,
  MAX_CHUNKS,
  MAX_CONFIG_BYTES,
  MAX_DETAIL_CHARACTERS,
  MAX_DISKS,
  MAX_PAGES,
  MAX_PEER_CHARACTERS,
  MAX_REPORT_CHARACTERS,
  MAX_STATE_BYTES,
} from "../limits.ts";
import type {
  CheckpointId,
  CheckpointWriter,
  LineageInfo,
  LineageWriter,
  LogStore,
  NewCheckpoint,
  NewLineage,
  StoreProgress,
} from "../log-store.ts";
import { lineageId } from "../rules.ts";
import { nameTakenError } from "../store-errors.ts";
import {
  damagedExport,
  decoding,
  type ExportRecord,
  type ReadBytes,
  readExport,
} from "./format.ts";

/** A lineage has this name's end until all of it is there. */
const UNFINISHED = ".import";
/** Records between two reports of progress. */
const RECORDS_AT_ONCE = 64;
const STATES = ["live", "receiving", "offering", "moved", "ended", "copy"] as const;
const MAX_EPOCH = Number.MAX_SAFE_INTEGER;

/**
 * Reads a file into the store as a lineage of its own, with `name` instead of its old one. It is
 * a copy: it can be replayed and forked, not run. Left off or failing, it removes what it made.
 * Throws E_STORE_FOREIGN, E_STORE_NEWER, E_STORE_CORRUPT, E_STORE_EXISTS, E_STORE_NAME_TAKEN.
 */
export function* importLineage(
  store: LogStore,
  read: ReadBytes,
  name?: string,
): Generator<StoreProgress, LineageInfo> {
  const records = readExport(read);
  const first = records.next();
  if (first.done === true || first.value.kind !== "lineage") {
    throw damagedExport("it does not begin with a machine");
  }
  const lineage = decoding("the machine", () => readLineage(first.value.fields));
  const wanted = name ?? lineage.name;
  if (store.findLineage(wanted)?.name === wanted) throw nameTakenError(wanted);
  const { id } = store.createLineage({ ...lineage, name: unfinishedName(wanted) });
  const writer = store.openLineage(id);
  let whole = false;
  try {
    const importer = new Importer(writer);
    let count = 0;
    for (const record of records) {
      decoding(record.kind, () => importer.take(record));
      count++;
      if (count % RECORDS_AT_ONCE === 0) yield { phase: record.kind, done: count, total: count };
    }
    importer.end();
    writer.setName(wanted);
    whole = true;
  } finally {
    writer.release();
    if (!whole) store.removeLineage(id);
  }
  const made = store.findLineage(id);
  if (made === undefined) throw damagedExport("the machine is gone");
  return made;
}

function unfinishedName(name: string): string {
  return `${name.slice(0, 64 - UNFINISHED.length)}${UNFINISHED}`;
}

function readLineage(tree: FieldReader): NewLineage {
  const id = lineageId(tree.string("id", 64));
  const name = tree.string("name", 64);
  const config = tree.bytes("config", { maxLength: MAX_CONFIG_BYTES });
  const fingerprint = tree.bytes("fingerprint", { maxLength: MAX_CONFIG_BYTES });
  const origin = tree.state("origin");
  tree.end();
  const lineage = { id, name, config, fingerprint };
  const { lineage: from, position: at } = origin;
  if (typeof from !== "string" || typeof at !== "bigint") return lineage;
  return { ...lineage, forkedFrom: { lineage: lineageId(from), position: position(at) } };
}

/** Puts one record after the other into the lineage. */
class Importer {
  readonly #writer: LineageWriter;
  readonly #known = new Map<number, Uint8Array>();
  #chain: ChainCheck | undefined;
  #open: { readonly writer: CheckpointWriter; readonly info: NewCheckpoint } | undefined;
  #before: CheckpointId | undefined;
  #epoch = 0;

  constructor(writer: LineageWriter) {
    this.#writer = writer;
  }

  take({ kind, fields }: ExportRecord): void {
    switch (kind) {
      case "lineage":
        throw damagedExport("there is a second machine in it");
      case "ownership":
        this.#takeOwnership(fields);
        break;
      case "report":
        this.#writer.addReport({
          kind: fields.string("kind", 64),
          json: fields.string("json", MAX_REPORT_CHARACTERS),
        });
        break;
      case "checkpoint":
        this.#takeCheckpoint(fields);
        break;
      case "pages":
      case "references":
      case "zeros":
      case "chunk":
        this.#takeContents(kind, fields);
        break;
      case "segment":
        this.#takeSegment(fields);
        break;
      case "end":
        break;
    }
  }

  end(): void {
    this.#commit();
    this.#writer.recordOwnership({ epoch: this.#epoch, state: "copy", peer: "", detail: "" });
  }

  #takeOwnership(fields: FieldReader): void {
    const record = {
      epoch: fields.integer("epoch", { min: this.#epoch, max: MAX_EPOCH }),
      state: fields.oneOf("state", STATES),
      peer: fields.string("peer", MAX_PEER_CHARACTERS),
      detail: fields.string("detail", MAX_DETAIL_CHARACTERS),
    };
    this.#epoch = record.epoch;
    this.#writer.recordOwnership(record);
  }

  #takeCheckpoint(fields: FieldReader): void {
    this.#commit();
    if (this.#chain !== undefined) throw damagedExport("a checkpoint after the trace");
    const trace = readPoint(fields.record("trace"));
    const isIncrement = fields.bool("isIncrement");
    if (isIncrement !== (this.#before !== undefined)) throw damagedExport("order of checkpoints");
    const info: NewCheckpoint = {
      position: position(fields.u64("position")),
      ticks: ticks(fields.u64("ticks")),
      trace,
      memoryPages: fields.integer("memoryPages", { min: 0, max: MAX_PAGES }),
      state: fields.bytes("state", { maxLength: MAX_STATE_BYTES }),
      ...(this.#before === undefined ? {} : { parent: this.#before }),
    };
    fields.end();
    this.#known.set(trace.sequence, trace.chain);
    this.#open = { writer: this.#writer.beginCheckpoint(info), info };
  }

  #takeContents(kind: "pages" | "references" | "zeros" | "chunk", fields: FieldReader): void {
    const writer = this.#open?.writer;
    if (writer === undefined) throw damagedExport("contents without a checkpoint");
    if (kind === "chunk") {
      writer.putChunks([readChunk(fields)]);
      return;
    }
    const pages = readNumbers(fields.bytes("pages", { maxLength: 4 * MAX_PAGES }));
    if (kind === "zeros") {
      writer.putZeroPages(pages);
      return;
    }
    const hashes = fields.bytes("hashes", { length: pages.length * HASH_BYTES });
    if (kind === "references") {
      const missing = writer.referPages(pages, hashes);
      if (missing.length > 0) throw damagedExport(`the content of page ${missing[0]} is missing`);
      return;
    }
    if (pages.length < 1 || pages.length > MAX_PACK_ITEMS) throw damagedExport("size of a pack");
    const pack = { itemBytes: PAGE_BYTES, hashes, ...readPacked(fields) };
    checkPack(pack);
    writer.putPackedPages(pages, pack);
  }

  #takeSegment(fields: FieldReader): void {
    this.#commit();
    this.#chain ??= new ChainCheck(this.#known);
    const bytes = fields.bytes("bytes", { maxLength: 5 << 20 });
    const { header, units } = openSegment(bytes, HOST_CODECS);
    const [problem] = this.#chain.next(header, units);
    if (problem !== undefined) throw damagedExport(problem);
    this.#writer.append([{ header, bytes }], { afterGap: true });
  }

  #commit(): void {
    this.#before = this.#open?.writer.commit().id ?? this.#before;
    this.#open = undefined;
  }
}

function readPoint(fields: FieldReader): TracePoint {
  return {
    sequence: fields.integer("sequence", { min: 0, max: 2 ** 40 - 1 }),
    position: fields.u64("position"),
    ticks: fields.u64("ticks"),
    chain: fields.bytes("chain", { maxLength: MAX_CHAIN_BYTES }),
  };
}

function readPacked(fields: FieldReader): Pick<ContentPack, "codec" | "data"> {
  const codec = fields.oneOf("codec", ["raw", "zstd"]);
  return { codec, data: fields.bytes("data", { maxLength: 1 << 20 }) };
}

function readChunk(fields: FieldReader): { disk: number; chunk: number; bytes: Uint8Array } {
  const disk = fields.integer("disk", { min: 0, max: MAX_DISKS - 1 });
  const chunk = fields.integer("chunk", { min: 0, max: MAX_CHUNKS - 1 });
  // Only the number of hashes counts for unpacking.
  const hashes = new Uint8Array(HASH_BYTES);
  return { disk, chunk, bytes: unpack({ itemBytes: CHUNK_BYTES, hashes, ...readPacked(fields) }) };
}

function readNumbers(bytes: Uint8Array): Uint32Array {
  if (bytes.length % 4 !== 0) throw damagedExport("a list of pages");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  return Uint32Array.from({ length: bytes.length / 4 }, (_, i) => view.getUint32(i * 4, true));
}
