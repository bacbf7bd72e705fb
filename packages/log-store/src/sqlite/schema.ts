/**
 * The database's tables, as steps that only go forward; docs/LOG_STORE.md explains them. A step
 * that was once released is never changed: databases of its form exist.
 */

/** "DJVM": how a store's database is known from others (PRAGMA application_id). */
export const APPLICATION_ID = 0x444a564d;

/** Units of a lineage's trace: `trace.id` is lineage * 2^40 + number of the first unit. */
export const TRACE_KEY_BITS = 40;

const TABLES = `
CREATE TABLE lineages (
  id INTEGER PRIMARY KEY,
  uid TEXT NOT NULL UNIQUE,
  name TEXT NOT NULL UNIQUE,
  created_at_ms INTEGER NOT NULL,
  forked_from TEXT,
  forked_at INTEGER,
  config BLOB NOT NULL,
  fingerprint BLOB NOT NULL,
  crc INTEGER NOT NULL
) STRICT;

CREATE TABLE ownership (
  id INTEGER PRIMARY KEY,
  lineage INTEGER NOT NULL,
  epoch INTEGER NOT NULL,
  state TEXT NOT NULL,
  peer TEXT NOT NULL,
  detail TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE INDEX ownership_by_lineage ON ownership (lineage, id);

CREATE TABLE reports (
  id INTEGER PRIMARY KEY,
  lineage INTEGER NOT NULL,
  kind TEXT NOT NULL,
  at_ms INTEGER NOT NULL,
  json TEXT NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE INDEX reports_by_lineage ON reports (lineage, id);

CREATE TABLE trace (
  id INTEGER PRIMARY KEY,
  unit_count INTEGER NOT NULL,
  from_position INTEGER NOT NULL,
  from_ticks INTEGER NOT NULL,
  to_position INTEGER NOT NULL,
  to_ticks INTEGER NOT NULL,
  plain_bytes INTEGER NOT NULL,
  chain BLOB NOT NULL,
  bytes BLOB NOT NULL
) STRICT;

CREATE TABLE checkpoints (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  lineage INTEGER NOT NULL,
  parent INTEGER,
  committed INTEGER NOT NULL,
  position INTEGER NOT NULL,
  ticks INTEGER NOT NULL,
  trace_sequence INTEGER NOT NULL,
  trace_position INTEGER NOT NULL,
  trace_ticks INTEGER NOT NULL,
  trace_chain BLOB NOT NULL,
  memory_pages INTEGER NOT NULL,
  created_at_ms INTEGER NOT NULL,
  changes INTEGER NOT NULL,
  stored_bytes INTEGER NOT NULL,
  state_bytes INTEGER NOT NULL,
  state BLOB NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE INDEX checkpoints_by_lineage ON checkpoints (lineage, id);
CREATE INDEX checkpoints_by_parent ON checkpoints (parent);

CREATE TABLE manifests (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  checkpoint INTEGER NOT NULL,
  ordinal INTEGER NOT NULL,
  entry_count INTEGER NOT NULL,
  entries BLOB NOT NULL,
  crc INTEGER NOT NULL
) STRICT;
CREATE INDEX manifests_by_checkpoint ON manifests (checkpoint, ordinal);

CREATE TABLE packs (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  item_bytes INTEGER NOT NULL,
  codec INTEGER NOT NULL,
  hashes BLOB NOT NULL,
  data BLOB NOT NULL
) STRICT;

CREATE TABLE content_index (
  prefix INTEGER NOT NULL,
  content INTEGER NOT NULL,
  PRIMARY KEY (prefix, content)
) STRICT, WITHOUT ROWID;

CREATE TABLE indexed (
  one INTEGER PRIMARY KEY CHECK (one = 1),
  pack INTEGER NOT NULL
) STRICT;
INSERT INTO indexed VALUES (1, 0);
`;

const VIEWS = `
CREATE VIEW v_machines AS
  SELECT l.name, l.uid AS id, o.state, o.epoch, o.peer,
    datetime(l.created_at_ms / 1000, 'unixepoch') AS created,
    l.forked_from,
    (SELECT count(*) FROM checkpoints c WHERE c.lineage = l.id AND c.committed = 1) AS checkpoints,
    (SELECT coalesce(sum(length(t.bytes)), 0) FROM trace t
      WHERE t.id >= l.id << 40 AND t.id < (l.id + 1) << 40) AS trace_bytes,
    (SELECT coalesce(sum(c.stored_bytes), 0) FROM checkpoints c WHERE c.lineage = l.id)
      AS checkpoint_bytes
  FROM lineages l LEFT JOIN ownership o
    ON o.id = (SELECT max(id) FROM ownership WHERE lineage = l.id);

CREATE VIEW v_segments AS
  SELECT l.name, t.id & 1099511627775 AS first_unit, t.unit_count AS units,
    t.from_position, t.to_position,
    t.from_ticks / 1e7 AS from_seconds, t.to_ticks / 1e7 AS to_seconds,
    t.plain_bytes, length(t.bytes) AS stored_bytes, lower(hex(t.chain)) AS chain
  FROM trace t JOIN lineages l ON l.id = t.id >> 40;

CREATE VIEW v_checkpoints AS
  SELECT l.name, c.id, c.parent, c.committed, c.position, c.ticks / 1e7 AS seconds,
    c.trace_sequence AS next_unit, c.changes, c.stored_bytes, c.memory_pages,
    datetime(c.created_at_ms / 1000, 'unixepoch') AS created
  FROM checkpoints c JOIN lineages l ON l.id = c.lineage;

CREATE VIEW v_ownership AS
  SELECT l.name, o.epoch, o.state, o.peer, o.detail,
    datetime(o.at_ms / 1000, 'unixepoch') AS at
  FROM ownership o JOIN lineages l ON l.id = o.lineage ORDER BY o.id;

CREATE VIEW v_reports AS
  SELECT l.name, r.kind, datetime(r.at_ms / 1000, 'unixepoch') AS at, r.json
  FROM reports r JOIN lineages l ON l.id = r.lineage ORDER BY r.id;
`;

/** From here on a trace's newest segments may lie beside the database, in `tails`. */
const TAILS = "-- Nothing in the database itself.";

/** Step i leads from version i to version i + 1 (PRAGMA user_version). */
export const MIGRATIONS: readonly string[] = [TABLES, VIEWS, TAILS];

/** The version that this program writes. */
export const SCHEMA_VERSION: number = MIGRATIONS.length;
