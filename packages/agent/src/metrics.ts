/** What Prometheus can ask an agent. */
import { Counter, collectDefaultMetrics, Gauge, Registry } from "prom-client";
import { type VmState, type VmSummary, vmStateSchema } from "./control/api.ts";

/** What the figures are taken from when they are asked for. */
export interface MetricSources {
  readonly vms: () => readonly VmSummary[];
  readonly peerCount: () => number;
}

/** The figures of one agent. */
export class AgentMetrics {
  readonly #registry = new Registry();
  /** Connections of other agents, by how they were taken. */
  readonly peerConnections: Counter<"result">;
  /** Migrations that ended, by this agent's part in them and how. */
  readonly migrations: Counter<"role" | "result">;

  constructor({ vms, peerCount }: MetricSources) {
    const registers = [this.#registry];
    collectDefaultMetrics({ register: this.#registry });
    const states = new Gauge({
      name: "dejavm_vms",
      help: "Machines by state",
      labelNames: ["state"] as const,
      registers,
      collect() {
        const counts = new Map<VmState, number>();
        for (const { state } of vms()) counts.set(state, (counts.get(state) ?? 0) + 1);
        for (const state of vmStateSchema.options) states.set({ state }, counts.get(state) ?? 0);
      },
    });
    const peers = new Gauge({
      name: "dejavm_peers",
      help: "Agents that this one is paired with",
      registers,
      collect() {
        peers.set(peerCount());
      },
    });
    this.peerConnections = new Counter({
      name: "dejavm_peer_connections_total",
      help: "Connections of other agents",
      labelNames: ["result"] as const,
      registers,
    });
    this.migrations = new Counter({
      name: "dejavm_migrations_total",
      help: "Migrations that ended",
      labelNames: ["role", "result"] as const,
      registers,
    });
  }

  /** In Prometheus' text format. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }
}
