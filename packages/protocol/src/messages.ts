/**
 * The control messages of a migration, as schemas: what a message may hold is written once, and
 * the types follow from it. Positions and ticks are 64-bit integers; `now` of neither side is in
 * any message. docs/PROTOCOL.md has the order in which they travel.
 */
import * as z from "zod/mini";
import {
  MAX_CHUNKS,
  MAX_CONTROL_BYTES,
  MAX_DISKS,
  MAX_INVENTORY,
  MAX_LIST_ITEMS,
  MAX_NAME_CHARS,
  MAX_PAGES,
  MAX_TEXT_CHARS,
} from "./limits.ts";

const U64 = z.bigint().check(z.gte(0n), z.lt(1n << 64n));
const U32 = z.int().check(z.gte(0), z.lt(2 ** 32));
const COUNT = z.int().check(z.gte(0));
const MEASURE = z.number().check(z.gte(0), z.lte(Number.MAX_SAFE_INTEGER));
const NAME = z.string().check(z.minLength(1), z.maxLength(MAX_NAME_CHARS));
const TEXT = z.string().check(z.maxLength(MAX_TEXT_CHARS));
const CODE = z.string().check(z.regex(/^E_[A-Z0-9_]{1,60}$/u));
const PAGE = z.int().check(z.gte(0), z.lt(MAX_PAGES));
const DISK = z.int().check(z.gte(0), z.lt(MAX_DISKS));
const CHUNK = z.int().check(z.gte(0), z.lt(MAX_CHUNKS));
const DIGEST = z.string().check(z.regex(/^[0-9a-f]{32}$/u));
const SHA256 = bytes(32, 32);

function bytes(least: number, most: number) {
  return z.custom<Uint8Array>(
    (value) => value instanceof Uint8Array && value.length >= least && value.length <= most,
  );
}

function list<Item extends z.ZodMiniType>(item: Item) {
  return z.array(item).check(z.maxLength(MAX_LIST_ITEMS));
}

const BLOB = bytes(0, MAX_CONTROL_BYTES);
/** Encoded by `encodePageSet`. */
const PAGE_SET = bytes(0, MAX_CONTROL_BYTES);

const REASON = z.strictObject({
  code: CODE,
  message: TEXT,
  hint: z.optional(TEXT),
});

/** A point between two trace segments: the next one's number, the place and the chain so far. */
const TRACE_POINT = z.strictObject({ sequence: COUNT, position: U64, ticks: U64, chain: SHA256 });

const DISK_OFFER = z.strictObject({
  sizeBytes: COUNT,
  /** Of the immutable base. */
  sha256: SHA256,
});

// ---- from the source

/** What is to be moved. The first message of a migration. */
const OFFER = z.strictObject({
  kind: z.literal("offer"),
  migration: NAME,
  lineage: NAME,
  /** The VM's name at the source; the target keeps it. */
  name: NAME,
  /** Of the machine that runs now; the target's will be one more. */
  epoch: U32,
  semantics: U32,
  pageCount: z.int().check(z.gte(1), z.lte(MAX_PAGES)),
  disks: z.array(DISK_OFFER).check(z.maxLength(MAX_DISKS)),
  /** Encoded fingerprint of the trace package: compared field by field. */
  fingerprint: BLOB,
  /** Whatever the target's VM package needs to make the machine: opaque here. */
  description: BLOB,
  /** Largest pause that the source's user accepts, in milliseconds. */
  maxDowntimeMs: MEASURE,
});

/**
 * A checkpoint begins: its state, and which pages and chunks make it up. All others are zero (as
 * in the base image), or as they were at the checkpoint before. Contents follow as bulk.
 */
const CHECKPOINT = z.strictObject({
  kind: z.literal("checkpoint"),
  /** 0, 1, 2, ... within the migration. */
  checkpoint: U32,
  position: U64,
  ticks: U64,
  /** Where the trace after this checkpoint begins. */
  trace: TRACE_POINT,
  state: BLOB,
  /** Pages that will be sent, zero ones too. */
  pages: PAGE_SET,
  /** Chunks that will be sent, [disk, chunk]; their count may exceed one message: `more`. */
  chunks: list(z.tuple([DISK, CHUNK])),
  /** Whether another `checkpoint-chunks` follows. */
  more: z.boolean(),
});

const CHECKPOINT_CHUNKS = z.strictObject({
  kind: z.literal("checkpoint-chunks"),
  checkpoint: U32,
  chunks: list(z.tuple([DISK, CHUNK])),
  more: z.boolean(),
});

/**
 * The hand-over: every input up to here has been sent. Whoever answers `live` owns the VM from
 * then on, with this epoch.
 */
const COMMIT = z.strictObject({
  kind: z.literal("commit"),
  epoch: U32,
  position: U64,
  ticks: U64,
  digest: DIGEST,
  /** Where the trace goes on; the segments before precede this message. */
  trace: TRACE_POINT,
});

/** An input that reached the source after F; the target's machine gets it once it is live. */
const LATE_INPUT = z.strictObject({
  kind: z.literal("late-input"),
  input: z.discriminatedUnion("kind", [
    z.strictObject({
      kind: z.literal("console"),
      port: z.enum(["uart", "hvc", "agent"]),
      bytes: bytes(0, 65_536),
    }),
    z.strictObject({ kind: z.literal("frame"), bytes: bytes(0, 65_600) }),
    z.strictObject({ kind: z.literal("link"), up: z.boolean() }),
    z.strictObject({ kind: z.literal("power-button") }),
  ]),
});

/** The source has heard `live` and keeps its copy as moved: the migration is over. */
const MOVED = z.strictObject({ kind: z.literal("moved"), epoch: U32 });

// ---- from the target

/** The target takes the VM; what it has already needs no sending. */
const ACCEPT = z.strictObject({
  kind: z.literal("accept"),
  migration: NAME,
  /** For each disk: whether the base is there. */
  hasBase: z.array(z.boolean()).check(z.maxLength(MAX_DISKS)),
  /** Positions of checkpoints of this lineage that the target's store has, newest first. */
  checkpoints: list(U64),
  /** Free bytes of RAM and of the store's disk. */
  freeMemoryBytes: MEASURE,
  freeDiskBytes: MEASURE,
});

/**
 * Contents that the target's store has from earlier: the first 8 bytes of the sha256 of each. The
 * source refers to such pages instead of sending them; a wrong guess is asked for again.
 */
const INVENTORY = z.strictObject({
  kind: z.literal("inventory"),
  prefixes: bytes(0, 8 * MAX_INVENTORY),
});

/** The target will not take it, now or any more. Always the end of the migration. */
const REFUSED = z.strictObject({
  kind: z.literal("refused"),
  phase: NAME,
  reason: REASON,
  /** Where replay and recording first differ, if that is why. */
  divergence: z.optional(TEXT),
});

/** Replay or an input waits for these. */
const WANT = z.strictObject({
  kind: z.literal("want"),
  /** The checkpoint from which replay began, or to which it jumped last. */
  checkpoint: U32,
  pages: list(PAGE),
  chunks: list(z.tuple([DISK, CHUNK])),
});

/** Referenced pages or chunks that the target does not have after all: send them whole. */
const UNKNOWN_REFERENCE = z.strictObject({
  kind: z.literal("unknown-reference"),
  checkpoint: U32,
  pages: list(PAGE),
  chunks: list(z.tuple([DISK, CHUNK])),
});

/** How far the target is. */
const TARGET_PROGRESS = z.strictObject({
  kind: z.literal("target-progress"),
  /** Last position that was replayed; 0 before replay begins. */
  position: U64,
  ticks: U64,
  /** Newest frontier that has arrived. */
  frontier: U64,
  /** CPU time, and time in which replay did not go on, milliseconds in all. */
  cpuMs: MEASURE,
  waitingMs: MEASURE,
  /** The next trace segment to be stored here, and the newest checkpoint stored whole. */
  durableSequence: COUNT,
  durableCheckpoint: z.optional(U32),
  /** Newest checkpoint whose pages have all arrived. */
  completeCheckpoint: z.optional(U32),
  /** How many digests were equal so far, and where the last was. */
  digestsMatched: U32,
  matchedPosition: U64,
});

/** A checkpoint was jumped to, or came too late and was dropped. */
const LEAPFROG = z.strictObject({
  kind: z.literal("leapfrog"),
  checkpoint: U32,
  taken: z.boolean(),
  position: U64,
});

/** The target owns the VM and runs it. */
const LIVE = z.strictObject({
  kind: z.literal("live"),
  epoch: U32,
  /** Milliseconds from the commitment's arrival: replayed to F, compared, durable, running. */
  replayedMs: MEASURE,
  comparedMs: MEASURE,
  durableMs: MEASURE,
  runningMs: MEASURE,
});

// ---- from either side

/** The migration ends without a move; only before the commitment. */
const CANCEL = z.strictObject({ kind: z.literal("cancel"), phase: NAME, reason: REASON });

/** Who owns this lineage, by your records? Asked after a crash and while in doubt. */
const ASK_OWNER = z.strictObject({
  kind: z.literal("ask-owner"),
  migration: NAME,
  lineage: NAME,
  epoch: U32,
});

/**
 * The answer from durable records. `not-here` is a promise: the commitment of `epoch` will never
 * be followed here.
 */
const OWNER = z.strictObject({
  kind: z.literal("owner"),
  lineage: NAME,
  epoch: U32,
  state: z.enum(["live-here", "not-here", "moved-on"]),
});

/** Every control message. */
export const MESSAGE = z.discriminatedUnion("kind", [
  OFFER,
  CHECKPOINT,
  CHECKPOINT_CHUNKS,
  COMMIT,
  LATE_INPUT,
  MOVED,
  ACCEPT,
  INVENTORY,
  REFUSED,
  WANT,
  UNKNOWN_REFERENCE,
  TARGET_PROGRESS,
  LEAPFROG,
  LIVE,
  CANCEL,
  ASK_OWNER,
  OWNER,
]);

/** See `MESSAGE`. */
export type ControlMessage = z.infer<typeof MESSAGE>;
/** The control message of one kind. */
export type ControlMessageOf<Kind extends ControlMessage["kind"]> = Extract<
  ControlMessage,
  { kind: Kind }
>;
/** Why a side gives up or refuses, for both sides' people. */
export type Reason = z.infer<typeof REASON>;
