/** Migrations at the control socket: begun, watched and cancelled on a WebSocket; listed after. */
import type { LogStore } from "@dejavm/log-store";
import type { MigrationOutcome } from "@dejavm/source-agent";
import type { RawData, WebSocket } from "ws";
import { cancelSchema, migrateSchema } from "../control/api.ts";
import { parseBody, type StreamRoute } from "../control/routes.ts";
import { closeStream } from "../control/streams.ts";
import type { Identity } from "../identity/identity.ts";
import type { Peer } from "../pairing/peers.ts";
import type { AgentVm, VmHost } from "../vm/agent-vm.ts";
import { migrateAway, type OutgoingProgress } from "./outgoing.ts";

/** What migrations are begun with. */
export interface MigrationControlOptions {
  readonly host: VmHost;
  readonly identity: Identity;
  readonly agentName: string;
  /** Throws E_VM_UNKNOWN. */
  readonly vmNamed: (name: string) => AgentVm;
  /** Throws E_PEER_UNKNOWN. */
  readonly peerNamed: (name: string) => Peer;
  readonly onEnded: (vm: AgentVm, result: MigrationOutcome["kind"]) => void;
}

const CANCELLED = {
  code: "E_CANCELLED",
  message: "the migration was cancelled",
  hint: undefined,
} as const;
/** A reader that is slower than this is told less often. */
const MAX_WAITING_BYTES = 64 * 1024;

/** `/v1/vms/NAME/migrate`: see `migrateSchema` and what follows it for the messages. */
export function migrationStream(options: MigrationControlOptions): StreamRoute {
  return {
    method: "GET",
    path: "/v1/vms/:name/migrate",
    open: ({ name = "" }, stream) => {
      const vm = options.vmNamed(name);
      stream.on("error", () => undefined);
      const giving = new AbortController();
      let begun = false;
      stream.on("message", (data) => {
        try {
          const message: unknown = JSON.parse(textOf(data));
          if (begun) {
            parseBody(cancelSchema, message);
            giving.abort();
            vm.migration?.cancel(CANCELLED);
            return;
          }
          begun = true;
          void run({ options, vm, stream, message, signal: giving.signal });
        } catch (error) {
          // A cancel that comes too late is answered; the migration goes on.
          closeStream(stream, error);
        }
      });
    },
  };
}

/** Reports of migrations of all machines, the newest first. */
export function storedMigrations(store: LogStore): { atMs: number; report: unknown }[] {
  const reports = store
    .lineages()
    .flatMap(({ id }) => store.reports(id))
    .filter(({ kind }) => kind === "migration")
    .map(({ atMs, json }) => ({ atMs, report: JSON.parse(json) as unknown }));
  return reports.toSorted((a, b) => b.atMs - a.atMs);
}

async function run(begun: {
  readonly options: MigrationControlOptions;
  readonly vm: AgentVm;
  readonly stream: WebSocket;
  readonly message: unknown;
  readonly signal: AbortSignal;
}): Promise<void> {
  const { options, vm, stream, message, signal } = begun;
  const { host, identity, agentName, peerNamed, onEnded } = options;
  const tell = (facts: object): void => {
    if (stream.readyState === stream.OPEN) stream.send(JSON.stringify(facts), { binary: false });
  };
  try {
    const request = parseBody(migrateSchema, message);
    const report = await migrateAway({
      host,
      identity,
      agentName,
      vm,
      request,
      peer: peerNamed(request.to),
      signal,
      onProgress: (progress: OutgoingProgress) => {
        if (stream.bufferedAmount < MAX_WAITING_BYTES) tell({ progress });
      },
    });
    onEnded(vm, report.outcome.kind);
    host.log.info({ vm: vm.name, outcome: report.outcome }, "migration ended");
    tell({ report });
    stream.close();
  } catch (error) {
    host.log.warn({ vm: vm.name, err: error }, "migration failed");
    closeStream(stream, error);
  }
}

function textOf(data: RawData): string {
  const bytes = Array.isArray(data) ? Buffer.concat(data) : Buffer.from(data as Uint8Array);
  return bytes.toString("utf8");
}
