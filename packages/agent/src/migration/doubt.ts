/**
 * A machine that was offered to another host when the agent died: nobody here may run it before
 * that host has said that it does not. It is asked for ever; a person may decide instead.
 */
import { randomBytes } from "node:crypto";
import type { LineageInfo } from "@dejavm/log-store";
import {
  DEFAULT_LINK_TIMES,
  frameSocketOf,
  LinkDriver,
  MAX_FRAME_BYTES,
  PROTOCOL_VERSIONS,
} from "@dejavm/protocol";
import { DoubtSession, decodeVmConfig, type OwnershipWish } from "@dejavm/source-agent";
import type { VmSummary } from "../control/api.ts";
import { agentError } from "../errors.ts";
import type { Identity } from "../identity/identity.ts";
import type { Peer } from "../pairing/peers.ts";
import { dialPeer } from "../peer/dialer.ts";
import type { VmHost } from "../vm/agent-vm.ts";
import type { ControlledVm } from "../vm/controlled-vm.ts";
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
export class DoubtfulVm implements ControlledVm {
  readonly name: string;
  readonly #options: DoubtOptions;
  readonly #session: DoubtSession;
  readonly #peer: string;
  #link: LinkDriver | undefined;
  #isOver = false;

  constructor(options: DoubtOptions) {
    const { name, id, ownership } = options.lineage;
    this.#options = options;
    this.name = name;
    this.#peer = ownership?.peer ?? "";
    const detail = offerDetailSchema.safeParse(parseJson(ownership?.detail ?? ""));
    this.#session = new DoubtSession({
      migration: detail.success ? detail.data.migration : "unknown",
      lineage: id,
      epoch: ownership?.epoch ?? 0,
    });
    this.#drain();
  }

  summary(): VmSummary {
    const { config, createdAtMs } = this.#options.lineage;
    const { image, memoryBytes } = decodeVmConfig(config);
    return {
      name: this.name,
      state: "in-doubt",
      image,
      memoryBytes,
      startedAtMs: createdAtMs,
      forwards: [],
      consoles: 0,
      notes: [
        `offered to ${this.#peer}, which is being asked`,
        `or: dejavm settle ${this.name} --live-here|--live-there --peer-is-stopped`,
      ],
    };
  }

  /** A person knows what cannot be asked. */
  settle(live: "here" | "there"): void {
    this.#session.handle({ kind: "settle", live });
    this.#drain();
  }

  close(): void {
    this.#isOver = true;
    this.#link?.close();
  }

  attachConsole(): () => void {
    throw this.#inDoubt();
  }

  type(): void {
    throw this.#inDoubt();
  }

  exec(): Promise<never> {
    return Promise.reject(this.#inDoubt());
  }

  stop(): Promise<void> {
    return Promise.reject(this.#inDoubt());
  }

  pause(): Promise<void> {
    return Promise.reject(this.#inDoubt());
  }

  resume(): Promise<void> {
    return Promise.reject(this.#inDoubt());
  }

  addForward(): Promise<void> {
    return Promise.reject(this.#inDoubt());
  }

  removeForward(): Promise<void> {
    return Promise.reject(this.#inDoubt());
  }

  #drain(): void {
    for (let next = this.#session.poll(); next !== undefined; next = this.#session.poll()) {
      if (this.#isOver) return;
      switch (next.kind) {
        case "new-link":
          this.#newLink();
          break;
        case "send":
          this.#link?.send(next.message);
          break;
        case "record":
          this.#record(next.wish);
          break;
        case "finished":
          this.close();
          this.#options.onSettled(next.owner);
          break;
      }
    }
  }

  #newLink(): void {
    this.#link?.close();
    const { identity, agentName, peerNamed } = this.#options;
    this.#link = new LinkDriver(
      {
        link: randomBytes(16).toString("hex"),
        agent: agentName,
        capabilities: [],
        versions: PROTOCOL_VERSIONS,
        bulkChannels: 1,
        maxBytesPerMs: Number.POSITIVE_INFINITY,
        times: DEFAULT_LINK_TIMES,
      },
      async (_channel, events) => {
        const options = { path: MIGRATION_PATH, maxMessageBytes: MAX_FRAME_BYTES };
        return frameSocketOf(await dialPeer(identity, peerNamed(this.#peer), options), events);
      },
      {
        onMessage: (message) => {
          this.#session.handle({ kind: "message", message });
          this.#drain();
        },
        onUp: () => undefined,
        onDown: () => undefined,
        onLost: ({ code, message, hint }) => {
          this.#session.handle({ kind: "link-lost", reason: { code, message, hint } });
          this.#drain();
        },
        onIdle: () => undefined,
      },
    );
    this.#link.neverGiveUp();
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
    this.#session.handle({ kind: "recorded" });
  }

  #inDoubt(): Error {
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
