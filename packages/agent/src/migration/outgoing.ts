/** Moves a machine of this agent to a peer: the session with this agent's identity and store. */
import { randomBytes } from "node:crypto";
import { CodedError } from "@dejavm/base";
import { SEMANTICS } from "@dejavm/machine";
import {
  type FrameSocket,
  type FrameSocketEvents,
  frameSocketOf,
  MAX_FRAME_BYTES,
  type Reason,
} from "@dejavm/protocol";
import {
  basesOf,
  encodeVmConfig,
  type MigrationReport,
  notBegunReport,
  type SourceMigration,
  type SourceProgress,
  startSourceMigration,
} from "@dejavm/source-agent";
import type { WebSocket } from "ws";
import { z } from "zod";
import type { MigrateRequest } from "../control/api.ts";
import { agentError } from "../errors.ts";
import type { Identity } from "../identity/identity.ts";
import type { Peer } from "../pairing/peers.ts";
import { dialPeer } from "../peer/dialer.ts";
import { reachMs } from "../peer/reach.ts";
import type { AgentVm, VmHost } from "../vm/agent-vm.ts";
import { FilesOnDemand } from "./files-on-demand.ts";
import { provideFiles } from "./provide-files.ts";
import { tunnelPath } from "./tunnel-desk.ts";

/** What an ownership record says about the migration that it is of. */
export const offerDetailSchema = z.object({ migration: z.string() });
/** Where links of migrations are dialled. */
export const MIGRATION_PATH = "/v1/migration";

const PAGE_BYTES = 4096;
const NEGOTIATE_MS = 20_000;
/** How often the target hears where the source is while it follows closely. */
const FRONTIER_MS = 5;
/** Old pages that wait for the link in the machine's thread: 64 MiB. */
const MAX_SAVED_PAGES = 16_384;
const BYTES_PER_MS_OF_MBIT = 125;
/** A rehearsal ends here at the latest: by then the link and the guest are known. */
const REHEARSE_MS = 15_000;

/** What a migration away from here needs. */
export interface OutgoingOptions {
  readonly host: VmHost;
  readonly identity: Identity;
  readonly agentName: string;
  readonly peer: Peer;
  readonly vm: AgentVm;
  readonly request: MigrateRequest;
  /** Aborted: the migration is given up, as long as that is possible. */
  readonly signal: AbortSignal;
  readonly onProgress: (progress: OutgoingProgress) => void;
}

/** How far it is: of the session, and of the files that go before it. */
export type OutgoingProgress = Omit<SourceProgress, "phase"> & { readonly phase: string };

/** Settles with the report, however it ended. Throws E_VM_STATE where it cannot begin. */
export async function migrateAway(options: OutgoingOptions): Promise<MigrationReport> {
  const { identity, peer, vm, request } = options;
  const { state } = vm.summary();
  if (state !== "running") {
    const message = `cannot move ${vm.name}: it is ${state}`;
    throw agentError("E_VM_STATE", message, "`dejavm ps` shows where machines stand");
  }
  const dialTunnel = (): Promise<WebSocket> =>
    dialPeer(identity, peer, {
      path: tunnelPath(vm.lineage, migration),
      maxMessageBytes: MAX_FRAME_BYTES,
    });
  const { bandwidthMbit } = request;
  const bandwidth =
    bandwidthMbit === undefined ? Number.POSITIVE_INFINITY : bandwidthMbit * BYTES_PER_MS_OF_MBIT;
  const startedAt = performance.now();
  const migration = randomBytes(8).toString("hex");
  let begun: FilesOnDemand | undefined;
  const start = (): FilesOnDemand => {
    begun = new FilesOnDemand({
      start: () => begin(options, { migration, bandwidth }),
      provide: () => provideFiles(options, bandwidth),
    });
    return begun;
  };
  try {
    return await vm.migrate(peer.name, dialTunnel, start);
  } catch (error) {
    if (begun?.isProviding !== true || !(error instanceof CodedError)) throw error;
    const report = notBegunReport(
      { migration, lineage: vm.lineage, name: vm.name },
      { code: String(error.code), message: error.message, hint: error.hint },
      performance.now() - startedAt,
    );
    vm.parts.recorded.writer.addReport({ kind: "migration", json: JSON.stringify(report) });
    return report;
  }
}

/** Begins one session. */
function begin(
  { host, identity, agentName, peer, vm, request, onProgress }: OutgoingOptions,
  { migration, bandwidth }: { readonly migration: string; readonly bandwidth: number },
): SourceMigration {
  const { recorded, config } = vm.parts;
  const { maxDowntimeMs, minSpeed, ifNotConverging, dryRun } = request;
  const stored = host.store.findLineage(vm.lineage);
  const epoch = stored?.ownership?.epoch ?? 1;
  const peerDial = new PeerDial(identity, peer, (reason) => started.cancel(reason));
  const started = startSourceMigration({
    session: {
      maxDowntimeMs,
      minShare: minSpeed,
      ifNotConverging,
      peer: peer.name,
      negotiateMs: NEGOTIATE_MS,
      frontierMs: FRONTIER_MS,
      maxSavedPages: MAX_SAVED_PAGES,
      ...(dryRun ? { rehearseMs: REHEARSE_MS } : {}),
      offer: {
        kind: "offer",
        migration,
        lineage: vm.lineage,
        name: vm.name,
        epoch,
        semantics: SEMANTICS,
        pageCount: config.memoryBytes / PAGE_BYTES,
        disks: config.disks.map(({ sizeBytes, sha256 }) => ({ sizeBytes, sha256 })),
        fingerprint: stored?.fingerprint ?? new Uint8Array(0),
        description: encodeVmConfig(config),
        maxDowntimeMs,
      },
    },
    request: (wanted) => vm.parts.vm.request(wanted),
    record: async ({ state: ownership, epoch: recordedEpoch }) => {
      // The machine runs, and what it sends passes through this thread: it is not to wait.
      if (ownership === "offering") await recorded.writer.prepareOwnership();
      const detail = JSON.stringify({ migration } satisfies z.infer<typeof offerDetailSchema>);
      const record = { state: ownership, epoch: recordedEpoch, peer: peer.name, detail };
      recorded.writer.recordOwnership(record);
      host.log.info({ vm: vm.name, ...record }, "ownership recorded");
    },
    dial: (_channel, events) => peerDial.dial(events),
    agent: agentName,
    linkName: () => randomBytes(16).toString("hex"),
    bases: basesOf(config),
    maxBytesPerMs: bandwidth,
    onProgress,
  });
  return started;
}

/** Dials a peer; one that cannot be reached to begin with, or wants no more of us, is given up. */
class PeerDial {
  readonly #identity: Identity;
  readonly #peer: Peer;
  readonly #giveUp: (reason: Reason) => void;
  readonly #startedAt = performance.now();
  #isOver = false;

  constructor(identity: Identity, peer: Peer, giveUp: (reason: Reason) => void) {
    this.#identity = identity;
    this.#peer = peer;
    this.#giveUp = giveUp;
  }

  async dial(events: FrameSocketEvents): Promise<FrameSocket> {
    try {
      const link = await dialPeer(this.#identity, this.#peer, {
        path: MIGRATION_PATH,
        maxMessageBytes: MAX_FRAME_BYTES,
      });
      this.#isOver = true;
      return frameSocketOf(link, events);
    } catch (error) {
      if (error instanceof CodedError) {
        const { message, hint } = error;
        this.#failed(reachMs(error), { code: String(error.code), message, hint });
      }
      throw error;
    }
  }

  /** A link that was there is dialled again for as long as the session wants it. */
  #failed(patienceMs: number, reason: Reason): void {
    const mayCome = this.#peer.address !== undefined;
    if (this.#isOver || (mayCome && performance.now() - this.#startedAt < patienceMs)) return;
    this.#isOver = true;
    this.#giveUp(reason);
  }
}
