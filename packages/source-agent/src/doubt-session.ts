/**
 * What an agent does that finds an offer in its records when it starts: it crashed between the
 * offer and the target's answer, so it may not run the machine before the target has said that it
 * does not. Asks for ever; sans-IO, as the other sessions.
 */
import { assert } from "@dejavm/base";
import type { ControlMessageOf, Message, Reason } from "@dejavm/protocol";
import type { OwnershipWish } from "./source-types.ts";

/** The offer that was found. */
export interface FoundOffer {
  readonly migration: string;
  readonly lineage: string;
  /** The epoch that was offered. */
  readonly epoch: number;
}

/** What happened. */
export type DoubtEvent =
  | { readonly kind: "message"; readonly message: Message }
  | { readonly kind: "link-lost"; readonly reason: Reason }
  | { readonly kind: "recorded" }
  | { readonly kind: "record-failed"; readonly reason: Reason }
  /** A person says what the peer's record is; it cannot be asked. */
  | { readonly kind: "settle"; readonly live: "here" | "there" };

/** What is to be done. */
export type DoubtAction =
  /** Make a link to the peer of the record, that is never given up. */
  | { readonly kind: "new-link" }
  | { readonly kind: "send"; readonly message: ControlMessageOf<"ask-owner"> }
  | { readonly kind: "record"; readonly wish: OwnershipWish }
  /** The machine lives here: recover it. `moved`: it does not. */
  | { readonly kind: "finished"; readonly owner: "here" | "there"; readonly epoch: number };

/** Where it is. */
export type DoubtState =
  | { readonly kind: "asking" }
  | { readonly kind: "recording"; readonly wish: OwnershipWish }
  | { readonly kind: "ended"; readonly owner: "here" | "there" };

/** See the head of this file. */
export class DoubtSession {
  readonly #offer: FoundOffer;
  readonly #actions: DoubtAction[] = [];
  #state: DoubtState = { kind: "asking" };

  constructor(offer: FoundOffer) {
    this.#offer = offer;
    this.#ask();
  }

  get state(): DoubtState {
    return this.#state;
  }

  poll(): DoubtAction | undefined {
    return this.#actions.shift();
  }

  handle(event: DoubtEvent): void {
    const state = this.#state;
    switch (event.kind) {
      case "message":
        if (state.kind === "asking") this.#answer(event.message);
        return;
      case "link-lost":
        if (state.kind === "asking") this.#ask();
        return;
      case "settle":
        if (state.kind === "asking") this.#decide(event.live);
        return;
      case "recorded":
        if (state.kind === "recording") this.#end(state.wish);
        return;
      case "record-failed":
        // There is no other way on.
        if (state.kind === "recording") this.#actions.push({ kind: "record", wish: state.wish });
        return;
    }
  }

  #ask(): void {
    const { migration, lineage, epoch } = this.#offer;
    this.#actions.push({ kind: "new-link" });
    const message = { kind: "ask-owner" as const, migration, lineage, epoch };
    this.#actions.push({ kind: "send", message });
  }

  #answer(message: Message): void {
    const { lineage, epoch } = this.#offer;
    if (message.kind !== "owner" || message.lineage !== lineage) return;
    if (message.epoch !== epoch) return;
    this.#decide(message.state === "not-here" ? "here" : "there");
  }

  #decide(owner: "here" | "there"): void {
    const { epoch } = this.#offer;
    const wish: OwnershipWish =
      // One more than was offered: whoever still believes in the offer is outdated.
      owner === "here" ? { state: "live", epoch: epoch + 1 } : { state: "moved", epoch };
    this.#state = { kind: "recording", wish };
    this.#actions.push({ kind: "record", wish });
  }

  #end(wish: OwnershipWish): void {
    assert(wish.state !== "offering", "a decision is recorded");
    const owner = wish.state === "live" ? "here" : "there";
    this.#state = { kind: "ended", owner };
    this.#actions.push({ kind: "finished", owner, epoch: wish.epoch });
  }
}
