/**
 * A machine that was offered to another host when the agent died: nobody here may run it before
 * that host has said that it does not. It is asked for ever; a person may decide instead.
 */
import { randomBytes } from "node:crypto";
import type { LineageInfo } from "@dejavm/log-store";
import { frameSocketOf, MAX_FRAME_BYTES } from "@dejavm/protocol";
import { type Doubt, type OwnershipWish, resolveDoubt } from "@dejavm/source-agent";
import type { VmSummary } from "../control/api.ts";
import { agentError } from "../errors.ts";
import type { Identity } from "../identity/identity.ts";
import type { Peer } from "../pairing/peers.ts";
import { dialPeer } from "../peer/dialer.ts";
import type { VmHost } from "../vm/agent-vm.ts";
import { doubtNotes, RestingVm, restingSummary } from "../vm/resting-vm.ts";
import { MIGRATION_PATH, offerDetailSchema } from "./outgoing.ts";

/** What is needed to ask. */
export interface DoubtOptions {
  readonly host: VmHost;
  readonly identity: Identity;
  readonly agentName: string;
  readonly lineage: LineageInfo;
  /** Throws E_PEER_UNKNOWN. */
  readonly peerNamed: (name: string) => Peer;
  /** It is known now where the machine lives; the record says so, too. */
  readonly onSettled: (owner: "here" | "there") => void;
}

/** See the head of this file. It stands in `ps` until it is settled. */
export class DoubtfulVm extends RestingVm {
  readonly #options: DoubtOptions;
  readonly #peer: string;
  readonly #doubt: Doubt;

  constructor(options: DoubtOptions) {
    super(options.lineage);
    const { identity, agentName, peerNamed, onSettled } = options;
    const { id, ownership } = options.lineage;
    const peer = ownership?.peer ?? "";
    this.#options = options;
    this.#peer = peer;
    const detail = offerDetailSchema.safeParse(parseJson(ownership?.detail ?? ""));
    this.#doubt = resolveDoubt({
      offer: {
        migration: detail.success ? detail.data.migration : "unknown",
        lineage: id,
        epoch: ownership?.epoch ?? 0,
      },
      record: (wish) => this.#record(wish),
      dial: async (_channel, events) => {
        const link = { path: MIGRATION_PATH, maxMessageBytes: MAX_FRAME_BYTES };
        return frameSocketOf(await dialPeer(identity, peerNamed(peer), link), events);
      },
      agent: agentName,
      linkName: () => randomBytes(16).toString("hex"),
    });
    void this.#doubt.done.then(({ owner }) => onSettled(owner));
  }

  summary(): VmSummary {
    const reached = this.#doubt.isConnected ? "was" : "cannot be";
    const facts = [`offered to ${this.#peer}, which ${reached} reached`];
    return restingSummary(this.lineage, "in-doubt", doubtNotes(this.name, facts));
  }

  /** A person knows what cannot be asked. */
  settle(live: "here" | "there"): void {
    this.#doubt.settle(live);
  }

  close(): void {
    this.#doubt.close();
  }

  #record({ state, epoch }: OwnershipWish): void {
    const { host, lineage } = this.#options;
    const writer = host.store.openLineage(lineage.id);
    try {
      writer.recordOwnership({ state, epoch, peer: this.#peer, detail: "" });
    } finally {
      writer.release();
    }
    host.log.info({ vm: this.name, state, epoch }, "settled");
  }

  protected refusal(): Error {
    return agentError(
      "E_VM_STATE",
      `${this.name} is in doubt: ${this.#peer} may have it`,
      "wait for its answer, or see `dejavm settle --help`",
    );
  }
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
