/** Runs a `DoubtSession` over real links: what an agent does with each offer that it finds. */
import {
  DEFAULT_LINK_TIMES,
  type Dial,
  LinkDriver,
  PROTOCOL_VERSIONS,
  reasonOf,
} from "@dejavm/protocol";
import {
  type DoubtAction,
  type DoubtEvent,
  DoubtSession,
  type FoundOffer,
} from "../doubt-session.ts";
import type { OwnershipWish } from "../source-types.ts";

/** A link that was lost is asked for again after this, a record after this. */
const AGAIN_MS = 1000;

/** What `resolveDoubt` needs. */
export interface DoubtOptions {
  /** As the newest ownership record says. */
  readonly offer: FoundOffer;
  /** Makes the record durable before it returns or resolves; throws if it is not. */
  readonly record: (wish: OwnershipWish) => void | Promise<void>;
  readonly dial: Dial;
  /** This agent's name, for the peer's people. */
  readonly agent: string;
  /** Unique, chosen at random: names a link. */
  readonly linkName: () => string;
}

/** A machine of which nobody here knows where it lives. */
export interface Doubt {
  /** Whether the peer was reached the last time. */
  readonly isConnected: boolean;
  /** A person decides what cannot be asked. */
  settle(live: "here" | "there"): void;
  /** Nobody waits for the answer any more: the agent ends. The record stays as it is. */
  close(): void;
  /** `here`: it may be recovered and run, with this epoch. `there`: it is recorded as moved. */
  readonly done: Promise<{ readonly owner: "here" | "there"; readonly epoch: number }>;
}

/** Asks the peer for ever, or until a person decides. */
export function resolveDoubt(options: DoubtOptions): Doubt {
  return new Resolving(options);
}

class Resolving implements Doubt {
  readonly #options: DoubtOptions;
  readonly #session: DoubtSession;
  readonly #done = Promise.withResolvers<{ owner: "here" | "there"; epoch: number }>();
  #link: LinkDriver | undefined;
  #isConnected = false;
  #isClosed = false;

  constructor(options: DoubtOptions) {
    this.#options = options;
    this.#session = new DoubtSession(options.offer);
    this.#drain();
  }

  get isConnected(): boolean {
    return this.#isConnected;
  }

  get done(): Doubt["done"] {
    return this.#done.promise;
  }

  settle(live: "here" | "there"): void {
    this.#handle({ kind: "settle", live });
  }

  close(): void {
    this.#isClosed = true;
    this.#link?.close();
  }

  #handle(event: DoubtEvent): void {
    if (this.#isClosed) return;
    this.#session.handle(event);
    this.#drain();
  }

  #drain(): void {
    for (let next = this.#session.poll(); next !== undefined; next = this.#session.poll()) {
      this.#act(next);
    }
  }

  #act(action: DoubtAction): void {
    switch (action.kind) {
      case "new-link":
        return this.#makeLink();
      case "send":
        return this.#link?.send(action.message);
      case "record":
        void this.#record(action.wish);
        return;
      case "finished":
        this.close();
        this.#done.resolve({ owner: action.owner, epoch: action.epoch });
        return;
    }
  }

  #makeLink(): void {
    const { agent, dial, linkName } = this.#options;
    this.#link?.close();
    this.#link = new LinkDriver(
      {
        link: linkName(),
        agent,
        capabilities: [],
        versions: PROTOCOL_VERSIONS,
        bulkChannels: 1,
        maxBytesPerMs: Number.POSITIVE_INFINITY,
        times: DEFAULT_LINK_TIMES,
      },
      dial,
      {
        onMessage: (message) => this.#handle({ kind: "message", message }),
        onUp: () => {
          this.#isConnected = true;
        },
        onDown: () => {
          this.#isConnected = false;
        },
        onLost: (error) => {
          setTimeout(() => this.#handle({ kind: "link-lost", reason: reasonOf(error) }), AGAIN_MS);
        },
        onIdle: () => undefined,
      },
    );
    this.#link.neverGiveUp();
  }

  async #record(wish: OwnershipWish): Promise<void> {
    try {
      await this.#options.record(wish);
      this.#handle({ kind: "recorded" });
    } catch (error) {
      const reason = reasonOf(error, "E_STORE_IO");
      setTimeout(() => this.#handle({ kind: "record-failed", reason }), AGAIN_MS);
    }
  }
}
