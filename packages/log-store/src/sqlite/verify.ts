/**
 * Looks at everything in the database: SQLite's own structure, the checksum of each row, the hash
 * of each content, the hash chain of each trace, and that everything referred to is there. A
 * damaged thing is reported and passed over; the rest is looked at all the same.
 */
import { CodedError } from "@dejavm/base";
import { openSegment, type Segment } from "@dejavm/trace";
import Database from "better-sqlite3";
import { ChainCheck } from "../chain-check.ts";
import { HASH_BYTES, MAX_PACK_ITEMS, sha256 } from "../content-pack.ts";
import { HOST_CODECS } from "../host-codecs.ts";
import type { LineageId, StoreProblem, StoreProgress, VerifyReport } from "../log-store.ts";
import {
  type CheckpointRow,
  checkpointRows,
  entriesOf,
  type ManifestRow,
  readState,
} from "./checkpoint-table.ts";
import { hashPrefix, liveSlots, type PackRow, unpackRow } from "./content-table.ts";
import { migrate, type StoreDatabase } from "./database.ts";
import {
  type LineageRow,
  lineageCheck,
  lineageRows,
  ownershipCheck,
  ownershipRows,
  reportCheck,
  reportRows,
} from "./lineage-table.ts";
import { ZERO_CONTENT } from "./manifest-codec.ts";
import { SCHEMA_VERSION } from "./schema.ts";
import { readTraceRows, SEQUENCE_MASK, segmentOf, type TraceRow, traceKey } from "./trace-table.ts";
import { following, readTail } from "./trace-tail.ts";

/** Contents that exist, and what was found wrong so far. */
interface Findings {
  readonly problems: StoreProblem[];
  /** Contents by number that are there and whole. */
  readonly contents: Set<number>;
  bytes: number;
  segments: number;
  checkpoints: number;
}

type Part = StoreProblem["part"];

/** See the head of the file. */
export function* verifyDatabase(database: StoreDatabase): Generator<StoreProgress, VerifyReport> {
  const findings: Findings = {
    problems: [],
    contents: new Set(),
    bytes: 0,
    segments: 0,
    checkpoints: 0,
  };
  yield* verifyStructure(database, findings);
  yield* verifyContents(database, findings);
  const lineages = attempt(findings, undefined, "database", () => lineageRows(database)) ?? [];
  for (const [done, row] of lineages.entries()) {
    yield { phase: "machines", done, total: lineages.length };
    verifyLineage(database, findings, row);
    yield* verifyTrace(database, findings, row);
    verifyCheckpoints(database, findings, row);
  }
  verifyNoStrays(database, findings);
  const { problems, contents, bytes, segments, checkpoints } = findings;
  const found = { problems, bytes, segments, checkpoints };
  return { ...found, lineages: lineages.length, contents: contents.size };
}

/** What `body` gives, or undefined after its coded error was noted. */
function attempt<Result>(
  findings: Findings,
  lineage: LineageId | undefined,
  part: Part,
  body: () => Result,
): Result | undefined {
  try {
    return body();
  } catch (error) {
    const coded: CodedError | undefined = error instanceof CodedError ? error : undefined;
    if (coded === undefined || coded.code === "E_STORE_CLOSED") throw error;
    findings.problems.push({ lineage, part, message: coded.message });
    return undefined;
  }
}

function expect(
  findings: Findings,
  holds: boolean,
  problem: { lineage?: LineageId; part: Part; message: string },
): void {
  if (!holds) findings.problems.push({ lineage: undefined, ...problem });
}

const MAX_STRUCTURE_PROBLEMS = 100;

/** SQLite's own look at its trees, table by table, and the schema. */
function* verifyStructure(database: StoreDatabase, findings: Findings): Generator<StoreProgress> {
  const schema = attempt(findings, undefined, "database", () => schemaOf(database.sqlite)) ?? "";
  const message = "the tables are not those of the store's form";
  expect(findings, schema === expectedSchema(), { part: "database", message });
  const tables = ["lineages", "ownership", "reports", "trace", "checkpoints", "manifests"];
  const all = [...tables, "packs", "content_index", "indexed"];
  for (const [done, table] of all.entries()) {
    yield { phase: "database", done, total: all.length };
    attempt(findings, undefined, "database", () =>
      database.reading(`cannot check table ${table}`, (sqlite) => {
        const rows = sqlite
          .prepare<[], { integrity_check: string }>(`PRAGMA integrity_check('${table}')`)
          .all();
        for (const { integrity_check: text } of rows.slice(0, MAX_STRUCTURE_PROBLEMS)) {
          expect(findings, text === "ok", { part: "database", message: `${table}: ${text}` });
        }
      }),
    );
  }
}

function schemaOf(sqlite: Database.Database): string {
  const rows = sqlite
    .prepare<[], { type: string; name: string; tbl_name: string; sql: string | null }>(
      `SELECT type, name, tbl_name, sql FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%'
       ORDER BY type, name`,
    )
    .all();
  return JSON.stringify(rows);
}

function expectedSchema(): string {
  const fresh = new Database(":memory:");
  try {
    migrate(fresh, SCHEMA_VERSION);
    return schemaOf(fresh);
  } finally {
    fresh.close();
  }
}

const PACKS_AT_ONCE = 16;

/** Unpacks every pack and hashes every content; looks whether the index leads to it. */
function* verifyContents(database: StoreDatabase, findings: Findings): Generator<StoreProgress> {
  const part = "contents";
  const count = attempt(findings, undefined, part, () =>
    database.reading("cannot count packs", (sqlite) =>
      sqlite
        .prepare<[], { n: number; last: number }>(
          "SELECT count(*) AS n, (SELECT pack FROM indexed) AS last FROM packs",
        )
        .get(),
    ),
  );
  const total = count?.n ?? 0;
  const indexed = count?.last ?? 0;
  for (let [after, done] = [0, 0]; ; done += PACKS_AT_ONCE) {
    yield { phase: "contents", done: Math.min(done, total), total };
    const ids = attempt(findings, undefined, part, () => packIds(database, after)) ?? [];
    for (const id of ids) {
      attempt(findings, undefined, part, () => verifyPack(database, findings, id, id <= indexed));
    }
    const last = ids.at(-1);
    if (last === undefined) return;
    after = last;
  }
}

function packIds(database: StoreDatabase, after: number): number[] {
  return database.reading("cannot list packs", (sqlite) =>
    sqlite
      .prepare<[number], { id: number }>(
        `SELECT id FROM packs WHERE id > ? ORDER BY id LIMIT ${PACKS_AT_ONCE}`,
      )
      .all(after)
      .map(({ id }) => id),
  );
}

function verifyPack(
  database: StoreDatabase,
  findings: Findings,
  id: number,
  indexed: boolean,
): void {
  const row = database.reading(`cannot read pack ${id}`, (sqlite) =>
    sqlite
      .prepare<[number], PackRow>(
        "SELECT id, item_bytes, codec, hashes, data FROM packs WHERE id = ?",
      )
      .get(id),
  );
  // `gc` of another process has freed it.
  if (row === undefined) return;
  const bytes = unpackRow(row);
  findings.bytes += bytes.length;
  const inIndex = database.sqlite.prepare<[number, number]>(
    "SELECT 1 FROM content_index WHERE prefix = ? AND content = ?",
  );
  for (const [index, slot] of liveSlots(row.hashes).entries()) {
    const hash = row.hashes.subarray(slot * HASH_BYTES, (slot + 1) * HASH_BYTES);
    const item = bytes.subarray(index * row.item_bytes, (index + 1) * row.item_bytes);
    const content = id * MAX_PACK_ITEMS + slot;
    const whole = Buffer.compare(hash, sha256(item)) === 0;
    const message = `content ${content} is not what was stored`;
    expect(findings, whole, { part: "contents", message });
    if (whole) findings.contents.add(content);
    const found = !indexed || inIndex.get(hashPrefix(hash), content) !== undefined;
    const lost = `content ${content} is not in the index`;
    expect(findings, found, { part: "contents", message: lost });
  }
}

function verifyLineage(database: StoreDatabase, findings: Findings, row: LineageRow): void {
  const { uid: lineage } = row;
  const key = Number(row.id);
  expect(findings, BigInt(lineageCheck(row)) === row.crc, {
    lineage,
    part: "lineage",
    message: `the row of machine ${row.name} is damaged`,
  });
  const part = "ownership";
  let epoch = 0;
  for (const record of attempt(findings, lineage, part, () => ownershipRows(database, key)) ?? []) {
    const whole = record.crc === ownershipCheck(key, record);
    expect(findings, whole, { lineage, part, message: `ownership record ${record.id} is damaged` });
    const message = `the epoch falls in ownership record ${record.id}`;
    expect(findings, !whole || record.epoch >= epoch, { lineage, part, message });
    epoch = Math.max(epoch, record.epoch);
  }
  for (const report of attempt(findings, lineage, "reports", () => reportRows(database, key)) ??
    []) {
    const whole = report.crc === reportCheck(key, report);
    expect(findings, whole, {
      lineage,
      part: "reports",
      message: `report ${report.id} is damaged`,
    });
  }
}

/** The chain of a lineage's trace, from each place where a checkpoint says what it is. */
function* verifyTrace(
  database: StoreDatabase,
  findings: Findings,
  { uid: lineage, id, name }: LineageRow,
): Generator<StoreProgress> {
  const part = "trace";
  const key = Number(id);
  const rows = attempt(findings, lineage, part, () => checkpointRows(database, key)) ?? [];
  const known = new Map(rows.map((row) => [Number(row.trace_sequence), row.trace_chain]));
  const chain = new ChainCheck(known);
  let next: number | undefined;
  // Before the rows: what is moved there meanwhile is then found there.
  const tail = attempt(findings, lineage, part, () => readTail(database.directory, lineage)) ?? {
    segments: [],
  };
  const iterator = readTraceRows(database, key, 0);
  for (let count = 0; ; count++) {
    const step = attempt(findings, lineage, part, () => iterator.next());
    if (step === undefined || step.done === true) break;
    const row = step.value;
    findings.segments++;
    findings.bytes += row.bytes.length;
    const units = attempt(findings, lineage, part, () => unitsOfRow(row, key));
    for (const message of chain.next(segmentOf(row).header, units)) {
      expect(findings, false, { lineage, part, message });
    }
    if (count % 256 === 0) yield { phase: `trace of ${name}`, done: count, total: count };
    next = Number((row.id & SEQUENCE_MASK) + row.unit_count);
  }
  verifyTail(findings, chain, { lineage, segments: following(tail.segments, next) });
}

/** What is not in the database yet. */
function verifyTail(
  findings: Findings,
  chain: ChainCheck,
  { lineage, segments }: { readonly lineage: LineageId; readonly segments: readonly Segment[] },
): void {
  const part = "trace";
  for (const { header, bytes } of segments) {
    findings.segments++;
    findings.bytes += bytes.length;
    const units = attempt(findings, lineage, part, () => openSegment(bytes, HOST_CODECS).units);
    for (const message of chain.next(header, units)) {
      expect(findings, false, { lineage, part, message });
    }
  }
}

/** The units of a segment whose row says the same as its bytes. Throws a coded error. */
function unitsOfRow(row: TraceRow, lineage: number): readonly Uint8Array[] {
  const bytes = new Uint8Array(row.bytes);
  const { header, units } = openSegment(bytes, HOST_CODECS);
  const { sequence, unitCount, from, to, plainBytes, chain } = header;
  const same =
    row.id === traceKey(lineage, sequence) &&
    row.unit_count === BigInt(unitCount) &&
    row.from_position === from.position &&
    row.from_ticks === from.ticks &&
    row.to_position === to.position &&
    row.to_ticks === to.ticks &&
    row.plain_bytes === BigInt(plainBytes) &&
    Buffer.compare(row.chain, chain) === 0;
  if (same) return units;
  throw new CodedError("E_STORE_CORRUPT", `the row of unit ${sequence} does not fit to its bytes`);
}

function verifyCheckpoints(database: StoreDatabase, findings: Findings, lineage: LineageRow): void {
  const part = "checkpoint";
  const { uid } = lineage;
  const rows = attempt(findings, uid, part, () => checkpointRows(database, Number(lineage.id)));
  for (const row of rows ?? []) {
    if (row.committed !== 0n) findings.checkpoints++;
    const state = attempt(findings, uid, part, () => readState(database, row));
    const problem = (message: string): void =>
      expect(findings, false, { lineage: uid, part, message: `checkpoint ${row.id}: ${message}` });
    if (state !== undefined) findings.bytes += state.state.length;
    if (row.committed !== 0n && row.committed !== 1n) problem(`committed is ${row.committed}`);
    verifyParent(database, row, problem);
    verifyManifest(database, findings, row, problem);
  }
}

function verifyParent(
  database: StoreDatabase,
  { id, parent, committed }: CheckpointRow,
  problem: (message: string) => void,
): void {
  if (parent === null) return;
  const found = database.sqlite
    .prepare<[bigint], { committed: number }>("SELECT committed FROM checkpoints WHERE id = ?")
    .get(parent);
  if (found === undefined) problem(`its parent ${parent} is missing`);
  else if (committed === 1n && found.committed !== 1) problem("its parent is not committed");
  if (parent >= id) problem(`its parent ${parent} is younger`);
}

function verifyManifest(
  database: StoreDatabase,
  findings: Findings,
  { id, uid, changes, committed }: CheckpointRow,
  problem: (message: string) => void,
): void {
  const parts =
    attempt(findings, uid, "checkpoint", () =>
      database.reading("cannot read a manifest", (sqlite) =>
        sqlite
          .prepare<[bigint], ManifestRow>(
            "SELECT * FROM manifests WHERE checkpoint = ? ORDER BY ordinal",
          )
          .all(id),
      ),
    ) ?? [];
  const places = new Map<number, number>();
  let count = 0;
  for (const row of parts) {
    const entries = attempt(findings, uid, "checkpoint", () => entriesOf(row)) ?? [];
    count += row.entry_count;
    for (const [place, content] of entries) places.set(place, content);
  }
  if (committed === 1n && changes !== BigInt(count))
    problem(`it has ${count} changes, not ${changes}`);
  const missing = [...places.values()].filter(
    (content) => content !== ZERO_CONTENT && !findings.contents.has(content),
  );
  if (missing.length > 0) problem(`${missing.length} of its contents are missing or damaged`);
}

/** Rows that belong to nothing: something that they belonged to has lost its name. */
function verifyNoStrays(database: StoreDatabase, findings: Findings): void {
  const strays: Record<string, string> = {
    "ownership records":
      "SELECT count(*) AS n FROM ownership WHERE lineage NOT IN (SELECT id FROM lineages)",
    reports: "SELECT count(*) AS n FROM reports WHERE lineage NOT IN (SELECT id FROM lineages)",
    checkpoints:
      "SELECT count(*) AS n FROM checkpoints WHERE lineage NOT IN (SELECT id FROM lineages)",
    "trace segments":
      "SELECT count(*) AS n FROM trace WHERE id >> 40 NOT IN (SELECT id FROM lineages)",
    "parts of manifests":
      "SELECT count(*) AS n FROM manifests WHERE checkpoint NOT IN (SELECT id FROM checkpoints)",
    "index entries":
      "SELECT count(*) AS n FROM content_index WHERE content / 64 NOT IN (SELECT id FROM packs)",
  };
  for (const [what, query] of Object.entries(strays)) {
    attempt(findings, undefined, "database", () => {
      const row = database.reading(`cannot count ${what}`, (sqlite) =>
        sqlite.prepare<[], { n: number }>(query).get(),
      );
      const message = `${row?.n} ${what} belong to nothing`;
      expect(findings, row?.n === 0, { part: "database", message });
    });
  }
}
