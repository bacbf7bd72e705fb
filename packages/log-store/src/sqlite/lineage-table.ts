/** Rows of lineages, ownership records and reports. */
import { position } from "@dejavm/machine";
import type {
  LineageId,
  LineageInfo,
  NewLineage,
  NewOwnershipRecord,
  OwnershipRecord,
  OwnershipState,
  StoredReport,
} from "../log-store.ts";
import { newLineageId } from "../rules.ts";
import { existsError, nameTakenError, storeError, unknownLineageError } from "../store-errors.ts";
import type { StoreDatabase } from "./database.ts";
import { rowCheck } from "./row-check.ts";

/** A row of `lineages`, as it is. */
export interface LineageRow {
  readonly id: bigint;
  readonly uid: LineageId;
  readonly name: string;
  readonly created_at_ms: bigint;
  readonly forked_from: LineageId | null;
  readonly forked_at: bigint | null;
  readonly config: Buffer;
  readonly fingerprint: Buffer;
  readonly crc: bigint;
}

/** A row of `ownership`, as it is. */
export interface OwnershipRow {
  readonly id: number;
  readonly epoch: number;
  readonly state: OwnershipState;
  readonly peer: string;
  readonly detail: string;
  readonly at_ms: number;
  readonly crc: number;
}

/** A row of `reports`, as it is. */
export interface ReportRow {
  readonly id: number;
  readonly kind: string;
  readonly at_ms: number;
  readonly json: string;
  readonly crc: number;
}

const OWNERSHIP_STATES: Record<OwnershipState, true> = {
  live: true,
  receiving: true,
  offering: true,
  moved: true,
  ended: true,
  copy: true,
};

/** What `crc` of a row of `lineages` must be. */
export function lineageCheck(row: Omit<LineageRow, "crc">): number {
  const { id, uid, name, created_at_ms, forked_from, forked_at, config, fingerprint } = row;
  return rowCheck([id, uid, name, created_at_ms, forked_from, forked_at, config, fingerprint]);
}

/** What `crc` of a row of `ownership` must be. */
export function ownershipCheck(lineage: number, row: Omit<OwnershipRow, "crc" | "id">): number {
  return rowCheck([lineage, row.epoch, row.state, row.peer, row.detail, row.at_ms]);
}

/** What `crc` of a row of `reports` must be. */
export function reportCheck(lineage: number, row: Omit<ReportRow, "crc" | "id">): number {
  return rowCheck([lineage, row.kind, row.at_ms, row.json]);
}

/** Every lineage's row, in order of names. */
export function lineageRows(database: StoreDatabase): LineageRow[] {
  return database.reading("cannot list the machines", (sqlite) =>
    sqlite.prepare<[], LineageRow>("SELECT * FROM lineages ORDER BY name").safeIntegers(true).all(),
  );
}

/** By id or by name. */
export function findLineageRow(database: StoreDatabase, reference: string): LineageRow | undefined {
  return database.reading("cannot find a machine", (sqlite) =>
    sqlite
      .prepare<[string, string], LineageRow>(
        "SELECT * FROM lineages WHERE name = ? UNION ALL SELECT * FROM lineages WHERE uid = ?",
      )
      .safeIntegers(true)
      .get(reference, reference),
  );
}

/** The number under which the other tables know a lineage. Throws E_STORE_UNKNOWN. */
export function lineageKey(database: StoreDatabase, uid: LineageId): number {
  const row = database.reading("cannot find a machine", (sqlite) =>
    sqlite.prepare<[string], { id: number }>("SELECT id FROM lineages WHERE uid = ?").get(uid),
  );
  if (row === undefined) throw unknownLineageError(uid);
  return row.id;
}

/** A lineage with its newest ownership record. */
export function lineageInfo(database: StoreDatabase, row: LineageRow): LineageInfo {
  const { forked_from: from, forked_at: at } = row;
  return {
    id: row.uid,
    name: row.name,
    config: new Uint8Array(row.config),
    fingerprint: new Uint8Array(row.fingerprint),
    forkedFrom: from === null ? undefined : { lineage: from, position: position(at ?? 0n) },
    createdAtMs: Number(row.created_at_ms),
    ownership: newestOwnership(database, Number(row.id)),
  };
}

/** Adds a lineage. Throws E_STORE_EXISTS, E_STORE_NAME_TAKEN. */
export function insertLineage(
  database: StoreDatabase,
  lineage: NewLineage,
  nowMs: number,
): LineageRow {
  const { name, forkedFrom } = lineage;
  const uid = lineage.id ?? newLineageId();
  return database.writing(`cannot create machine ${name}`, (sqlite) => {
    const taken = sqlite.prepare<[string], { n: number }>(
      "SELECT 1 AS n FROM lineages WHERE uid = ?",
    );
    if (taken.get(uid) !== undefined) throw existsError(uid);
    const named = sqlite.prepare<[string]>("SELECT 1 FROM lineages WHERE name = ?");
    if (named.get(name) !== undefined) throw nameTakenError(name);
    const newest = sqlite
      .prepare<[], { id: bigint }>("SELECT coalesce(max(id), 0) + 1 AS id FROM lineages")
      .safeIntegers(true)
      .get();
    const row = {
      id: newest?.id ?? 1n,
      uid,
      name,
      created_at_ms: BigInt(nowMs),
      forked_from: forkedFrom?.lineage ?? null,
      forked_at: forkedFrom?.position ?? null,
      config: Buffer.from(lineage.config),
      fingerprint: Buffer.from(lineage.fingerprint),
    };
    const checked = { ...row, crc: BigInt(lineageCheck(row)) };
    sqlite
      .prepare(
        `INSERT INTO lineages VALUES (@id, @uid, @name, @created_at_ms, @forked_from, @forked_at,
         @config, @fingerprint, @crc)`,
      )
      .run(checked);
    return checked;
  });
}

/** Changes a lineage's name or configuration. */
export function updateLineage(
  database: StoreDatabase,
  uid: LineageId,
  change: { readonly name: string } | { readonly config: Uint8Array },
): void {
  database.writing(`cannot change machine ${uid}`, (sqlite) => {
    const row = findLineageRow(database, uid);
    if (row === undefined) throw unknownLineageError(uid);
    const changed = {
      ...row,
      ...("name" in change ? { name: change.name } : { config: Buffer.from(change.config) }),
    };
    if ("name" in change && change.name !== row.name) {
      const other = findLineageRow(database, change.name);
      if (other?.name === change.name) throw nameTakenError(change.name);
    }
    sqlite
      .prepare("UPDATE lineages SET name = @name, config = @config, crc = @crc WHERE id = @id")
      .run({ ...changed, crc: lineageCheck(changed) });
  });
}

/** All transitions, oldest first, as they are stored. */
export function ownershipRows(database: StoreDatabase, lineage: number): OwnershipRow[] {
  return database.reading("cannot read ownership records", (sqlite) =>
    sqlite
      .prepare<[number], OwnershipRow>("SELECT * FROM ownership WHERE lineage = ? ORDER BY id")
      .all(lineage),
  );
}

/** The newest transition. Throws E_STORE_CORRUPT: nobody acts on a damaged record. */
export function newestOwnership(
  database: StoreDatabase,
  lineage: number,
): OwnershipRecord | undefined {
  const row = database.reading("cannot read the ownership record", (sqlite) =>
    sqlite
      .prepare<[number], OwnershipRow>(
        "SELECT * FROM ownership WHERE lineage = ? ORDER BY id DESC LIMIT 1",
      )
      .get(lineage),
  );
  return row === undefined ? undefined : ownershipRecord(lineage, row);
}

/** A row as a record. Throws E_STORE_CORRUPT. */
export function ownershipRecord(lineage: number, row: OwnershipRow): OwnershipRecord {
  const { epoch, state, peer, detail, at_ms } = row;
  if (row.crc !== ownershipCheck(lineage, row) || !Object.hasOwn(OWNERSHIP_STATES, state)) {
    throw storeError("E_STORE_CORRUPT", `ownership record ${row.id} is damaged`, {
      hint: "see the whole damage with 'dejavm log verify'",
    });
  }
  return { epoch, state, peer, detail, atMs: at_ms };
}

/** Adds a transition. */
export function insertOwnership(
  database: StoreDatabase,
  lineage: number,
  record: NewOwnershipRecord & { readonly atMs: number },
): void {
  const { epoch, state, peer, detail, atMs } = record;
  const row = { lineage, epoch, state, peer, detail, at_ms: atMs };
  database.writing("cannot record ownership", (sqlite) =>
    sqlite
      .prepare(
        `INSERT INTO ownership (lineage, epoch, state, peer, detail, at_ms, crc)
         VALUES (@lineage, @epoch, @state, @peer, @detail, @at_ms, @crc)`,
      )
      .run({ ...row, crc: ownershipCheck(lineage, row) }),
  );
}

/** Reports, oldest first, as they are stored. */
export function reportRows(database: StoreDatabase, lineage: number): ReportRow[] {
  return database.reading("cannot read reports", (sqlite) =>
    sqlite
      .prepare<[number], ReportRow>("SELECT * FROM reports WHERE lineage = ? ORDER BY id")
      .all(lineage),
  );
}

/** Adds a report. */
export function insertReport(database: StoreDatabase, lineage: number, report: StoredReport): void {
  const row = { lineage, kind: report.kind, at_ms: report.atMs, json: report.json };
  database.writing("cannot add a report", (sqlite) =>
    sqlite
      .prepare(
        `INSERT INTO reports (lineage, kind, at_ms, json, crc)
         VALUES (@lineage, @kind, @at_ms, @json, @crc)`,
      )
      .run({ ...row, crc: reportCheck(lineage, row) }),
  );
}
