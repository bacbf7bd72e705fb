/**
 * Looks at everything in the database: SQLite's own structure, the checksum of each row, the hash
 * of each content, the hash chain of each trace, and that everything referred to is there. A
 * damaged thing is reported and passed over; the rest is looked at all the same.
 */
import { CodedError } from "@dejavm/base";
import { position, ticks } from "@dejavm/machine";
import { chainNext, openSegment, readSegmentHeader, traceStart } from "@dejavm/trace";
import Database from "better-sqlite3";
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
import { readTraceRows, segmentOf, type TraceRow, traceKey } from "./trace-table.ts";
