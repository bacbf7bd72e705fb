/**
 * The portable file: one lineage with everything, as records behind a line that people can read.
 * docs/LOG_STORE.md draws it. A record is taken in only if its size is within its kind's limit and
 * its checksum is right; its payload is a tree of named fields, as in a snapshot.
 */
import { crc32 } from "node:zlib";
import { ByteReader, ByteWriter, CodedError } from "@dejavm/base";
import { decodeState, encodeState, type FieldReader, fields, type State } from "@dejavm/machine";
import { sha256 } from "../content-pack.ts";
import { storeError } from "../store-errors.ts";

/** The format's version, in the first line of the file. */
const EXPORT_VERSION = 1;
const FIRST_WORDS = "dejavm export ";
const NOTICE = ": a machine's memory, disks and input; it may hold secrets\n";
/** Bytes within which the first line ends. */
const MAX_FIRST_LINE = 200;
/** Kind, payload's size, payload's checksum. */
const HEAD_BYTES = 9;
const MIB = 2 ** 20;

/** Kinds of records, in the order in which they may stand, and the bytes that one may have. */
const RECORD_KINDS = [
  /** Name, id, origin, configuration, fingerprint. First. */
  { kind: "lineage", maxBytes: 3 * MIB },
  { kind: "ownership", maxBytes: MIB },
  { kind: "report", maxBytes: 16 * MIB },
  /** Its place and state; pages and chunks that follow are its own. */
  { kind: "checkpoint", maxBytes: 65 * MIB },
  /** Page numbers and a pack of their contents. */
  { kind: "pages", maxBytes: MIB },
  /** Page numbers and hashes of contents that have come before. */
  { kind: "references", maxBytes: MIB },
  /** Page numbers. */
  { kind: "zeros", maxBytes: MIB },
  { kind: "chunk", maxBytes: MIB },
  /** A trace segment as it is. */
  { kind: "segment", maxBytes: 5 * MIB },
  /** How many records came before, and the sha256 chain over their heads. Last. */
  { kind: "end", maxBytes: 1024 },
] as const;

/** A kind of record. */
export type RecordKind = (typeof RECORD_KINDS)[number]["kind"];

/** E_STORE_CORRUPT for an export. */
export function damagedExport(detail: string, cause?: unknown): CodedError {
  return storeError("E_STORE_CORRUPT", `the export is damaged: ${detail}`, {
    hint: "copy it again from a good source; nothing of it was kept",
    cause,
  });
}

/** Makes the file, piece by piece. */
export class ExportWriter {
  readonly #write: (bytes: Uint8Array) => void;
  #chain: Uint8Array;
  #records = 0;

  /** `write` gets the bytes in order. */
  constructor(write: (bytes: Uint8Array) => void) {
    const line = Buffer.from(`${FIRST_WORDS}${EXPORT_VERSION}${NOTICE}`);
    this.#write = write;
    this.#chain = sha256(line);
    write(line);
  }

  record(kind: RecordKind, tree: State): void {
    const payload = encodeState(tree);
    const tag = RECORD_KINDS.findIndex((each) => each.kind === kind);
    const head = new ByteWriter(HEAD_BYTES).u8(tag).u32(payload.length).u32(crc32(payload));
    const bytes = head.finish();
    this.#chain = sha256(Buffer.concat([this.#chain, bytes]));
    this.#records++;
    this.#write(bytes);
    this.#write(payload);
  }

  end(): void {
    this.record("end", { records: this.#records, chain: this.#chain });
  }
}

/** Bytes of a file, in order: exactly `count`, or fewer where it ends. */
export type ReadBytes = (count: number) => Uint8Array;

/** A record as it was read; the fields are not checked yet. */
export interface ExportRecord {
  readonly kind: RecordKind;
  readonly fields: FieldReader;
}

/** The records of a file; ends after the end record. Throws E_STORE_FOREIGN, -NEWER, -CORRUPT. */
export function* readExport(read: ReadBytes): Generator<ExportRecord> {
  const line = readFirstLine(read);
  let chain = sha256(line);
  for (let records = 0; ; records++) {
    const head = exactly(read, HEAD_BYTES);
    const reader = new ByteReader(head, damagedExport);
    const [tag, size, sum] = [reader.u8(), reader.u32(), reader.u32()];
    const found = RECORD_KINDS[tag];
    if (found === undefined) throw damagedExport(`there are no records of kind ${tag}`);
    const { kind, maxBytes } = found;
    if (size > maxBytes) throw damagedExport(`a ${kind} of ${size} bytes, at most ${maxBytes}`);
    const payload = exactly(read, size);
    if (crc32(payload) !== sum) throw damagedExport(`the checksum of a ${kind} is wrong`);
    const tree = decoding(kind, () => fields(decodeState(payload), kind));
    if (kind === "end") {
      checkEnd(tree, records, chain);
      if (read(1).length > 0) throw damagedExport("something follows the end");
      return;
    }
    chain = sha256(Buffer.concat([chain, head]));
    yield { kind, fields: tree };
  }
}

/** Runs `body`, which reads fields; what is wrong with them is E_STORE_CORRUPT. */
export function decoding<Result>(what: string, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    const coded: CodedError | undefined = error instanceof CodedError ? error : undefined;
    if (coded === undefined) throw error;
    throw damagedExport(`${what}: ${coded.message}`, error);
  }
}

function checkEnd(tree: FieldReader, records: number, chain: Uint8Array): void {
  const [said, sum] = decoding("the end", () => {
    const count = tree.integer("records", { min: 0, max: Number.MAX_SAFE_INTEGER });
    return [count, tree.bytes("chain", { length: 32 })] as const;
  });
  if (said !== records || Buffer.compare(sum, chain) !== 0) {
    throw damagedExport("records are missing or changed places");
  }
}

function readFirstLine(read: ReadBytes): Uint8Array {
  const words = Buffer.from(read(FIRST_WORDS.length));
  if (words.toString("latin1") !== FIRST_WORDS) {
    throw storeError("E_STORE_FOREIGN", "the file is no export of a machine", {
      hint: "give a file that 'dejavm log export' wrote",
    });
  }
  const line = [...words];
  while (line.at(-1) !== 0x0a) {
    const [byte] = read(1);
    if (byte === undefined || line.length >= MAX_FIRST_LINE) throw damagedExport("its first line");
    line.push(byte);
  }
  const text = Buffer.from(line).toString("latin1").slice(FIRST_WORDS.length);
  const version = /^(\d{1,9}):/.exec(text)?.[1];
  if (version === undefined) throw damagedExport("its first line");
  if (Number(version) > EXPORT_VERSION) {
    const message = `the export has version ${version}, this program knows ${EXPORT_VERSION}`;
    throw storeError("E_STORE_NEWER", message, { hint: "use the newer Déjà VM that wrote it" });
  }
  return Uint8Array.from(line);
}

function exactly(read: ReadBytes, count: number): Uint8Array {
  const bytes = read(count);
  if (bytes.length === count) return bytes;
  throw damagedExport(`it ends too early, ${count - bytes.length} bytes are missing`);
}
