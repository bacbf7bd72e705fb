/**
 * What the control socket's requests and answers look like: HTTP/JSON over a Unix socket, and
 * WebSockets for consoles and commands. One file for both ends; docs/AGENT.md lists the paths.
 */
import { z } from "zod";
import { AGENT_NAME, VM_NAME } from "../names.ts";

/** Grows when an answer's meaning changes. */
export const CONTROL_VERSION = 1;
/** Largest request body. */
export const MAX_BODY_BYTES = 1024 * 1024;

const name = z.string().regex(VM_NAME);
const text = (max: number) => z.string().max(max);

/** What answers at a control socket. */
export const infoSchema = z.object({
  version: z.literal(CONTROL_VERSION),
  /** `run`: a `dejavm run --name`, which has one machine and ends with it. */
  kind: z.enum(["agent", "run"]),
  name: z.string(),
  pid: z.int(),
  /** `HOST:PORT` for other agents. */
  listening: z.string().optional(),
  fingerprint: z.string().optional(),
});
/** See `infoSchema`. */
export type Info = z.infer<typeof infoSchema>;

/** Where a machine stands. */
export const vmStateSchema = z.enum([
  "starting",
  "running",
  "paused",
  "migrating",
  "in-doubt",
  "moved",
  "stopped",
  "failed",
]);
/** See `vmStateSchema`. */
export type VmState = z.infer<typeof vmStateSchema>;

/** A machine as `ps` shows it. */
export const vmSummarySchema = z.object({
  name,
  state: vmStateSchema,
  image: z.string(),
  memoryBytes: z.int(),
  /** Milliseconds since 1970 when it was started here. */
  startedAtMs: z.number(),
  /** Forwards as `HOSTIP:HOSTPORT:GUESTPORT/PROTOCOL`. */
  forwards: z.array(z.string()),
  /** Consoles attached. */
  consoles: z.int(),
  /** What needs to be known besides: why it failed, where it moved to, not recorded ... */
  notes: z.array(z.string()),
});
/** See `vmSummarySchema`. */
export type VmSummary = z.infer<typeof vmSummarySchema>;

/** What a machine of the agent is made from. */
export const vmDefinitionSchema = z.strictObject({
  name,
  image: text(100),
  memoryBytes: z
    .int()
    .min(16 * 2 ** 20)
    .max(2 ** 31),
  /** Added to the image's kernel command line. */
  append: text(2000).default(""),
  /** Further disks, absolute paths. */
  disks: z.array(text(4096)).max(7).default([]),
  forwards: z.array(text(100)).max(256).default([]),
  netAllow: z.array(text(200)).max(256).default([]),
  netDeny: z.array(text(200)).max(256).default([]),
  /** Hex; fixes the guest's entropy and MAC-independent randomness for tests. */
  entropySeed: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .optional(),
});
/** See `vmDefinitionSchema`. */
export type VmDefinition = z.infer<typeof vmDefinitionSchema>;

/** `POST /v1/vms/NAME/stop`. */
export const stopSchema = z.strictObject({
  /** Do not ask the guest. */
  force: z.boolean().default(false),
  /** How long the guest may take before it is stopped anyway. */
  timeoutMs: z.int().min(0).max(3_600_000).default(30_000),
});
/** See `stopSchema`. */
export type StopRequest = z.infer<typeof stopSchema>;

/** First message of `/v1/vms/NAME/migrate`. */
export const migrateSchema = z.strictObject({
  /** A peer's name. */
  to: z.string().regex(AGENT_NAME),
  maxDowntimeMs: z.number().min(1).max(60_000).default(100),
  /** Least share of its speed that the guest keeps. */
  minSpeed: z.number().min(0.01).max(1).default(0.5),
  ifNotConverging: z.enum(["slow", "copy", "cancel"]).default("slow"),
  /** For pages and chunks, at most; absent: what the link gives. */
  bandwidthMbit: z.number().min(0.01).exactOptional(),
  /** Everything but the hand-over, and a prediction. */
  dryRun: z.boolean().default(false),
});
/** See `migrateSchema`. */
export type MigrateRequest = z.infer<typeof migrateSchema>;
/** A text message of the client's: give the migration up. */
export const cancelSchema = z.strictObject({ cancel: z.literal(true) });

/** `POST /v1/vms/NAME/settle`: a person decides where a machine lives that is in doubt. */
export const settleSchema = z.strictObject({
  live: z.enum(["here", "there"]),
  /** The other host's agent does not run, and will not before it knows the decision. */
  peerIsStopped: z.boolean().default(false),
});

/** How far a migration is: messages of the server. */
export const progressSchema = z.object({
  progress: z.object({
    phase: z.string(),
    lagMs: z.number().optional(),
    share: z.number(),
    bytesPerMs: z.number(),
    sentBytes: z.number(),
    pendingPages: z.number(),
    pendingMs: z.number().optional(),
    predictedDowntimeMs: z.number().optional(),
    why: z.string(),
  }),
});
/** The server's last message. */
export const reportSchema = z.object({
  report: z.looseObject({
    migration: z.string(),
    name: z.string(),
    outcome: z.discriminatedUnion("kind", [
      z.object({ kind: z.literal("moved"), epoch: z.int() }),
      z.object({ kind: z.literal("rehearsed"), prediction: z.looseObject({}) }),
      z.object({
        kind: z.literal("stayed"),
        phase: z.string(),
        code: z.string(),
        message: z.string(),
        hint: z.string().optional(),
      }),
    ]),
  }),
});
/** Answer to `GET /v1/migrations`. */
export const migrationsSchema = z.object({
  migrations: z.array(z.object({ atMs: z.number(), report: z.looseObject({}) })),
});

/** `POST` and `DELETE /v1/vms/NAME/ports`. */
export const portSchema = z.strictObject({ forward: text(100) });
/** Answer to both: what is forwarded, with the ports that the host gave. */
export const portsSchema = z.object({ forwards: z.array(z.string()) });

/** Answer to `POST /v1/invitations`. */
export const invitationSchema = z.object({ token: z.string(), address: z.string() });

/** `POST /v1/pairings`: this agent is to dial the one that gave the token out. */
export const pairingSchema = z.strictObject({ address: text(300), token: text(200) });

/** An agent that this one is paired with. */
export const peerSchema = z.object({
  name: z.string().regex(AGENT_NAME),
  fingerprint: z.string(),
  address: z.string().optional(),
});

/** First message of `/v1/vms/NAME/exec`; binary messages after it are standard input. */
export const execStartSchema = z.strictObject({ command: text(60_000) });
/** A text message of the client's: standard input has ended. */
export const execEndSchema = z.strictObject({ stdin: z.literal("end") });
/** The text message that ends a command. */
export const execExitSchema = z.object({ exit: z.int() });

/** Binary messages of a command's output begin with one of these. */
export const EXEC_STDOUT = 1;
/** See `EXEC_STDOUT`. */
export const EXEC_STDERR = 2;

/** What a request that failed is answered with; the text before a WebSocket closes, too. */
export const failureSchema = z.object({
  error: z.object({ code: z.string(), message: z.string(), hint: z.string().optional() }),
});
/** See `failureSchema`. */
export type Failure = z.infer<typeof failureSchema>;
