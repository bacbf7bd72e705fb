/**
 * One direction-pair of a link: messages in order and exactly once, across any number of
 * connections. What the peer has acknowledged is forgotten and never sent again; what it has not is
 * kept and sent on the next connection.
 */
import { assert } from "@dejavm/base";
import { protocolError } from "./errors.ts";
import { encodeFrame, type Message } from "./frame.ts";
import { MAX_UNACKNOWLEDGED_BYTES } from "./limits.ts";

/** A message on its way. */
export interface Outgoing {
  readonly sequence: number;
  readonly bytes: Uint8Array;
}

/** See the head of this file. */
export class Channel {
  readonly #kept: Outgoing[] = [];
  #keptBytes = 0;
  /** Sequence number of the next new message, of the next to go out, of the next wanted. */
  #nextNew = 0;
  #nextOut = 0;
  #nextIn = 0;
  #duplicates = 0;

  /** The next sequence number wanted from the peer. */
  get nextIn(): number {
    return this.#nextIn;
  }

  /** Bytes that the peer has not acknowledged, sent or not. */
  get keptBytes(): number {
    return this.#keptBytes;
  }

  /** Messages that wait to be sent on the present connection. */
  get waiting(): number {
    return this.#nextNew - this.#nextOut;
  }

  /** Messages that arrived a second time; they were dropped. */
  get duplicates(): number {
    return this.#duplicates;
  }

  /** Throws E_LINK_BACKLOG when too much waits already. */
  push(message: Message): void {
    const bytes = encodeFrame({ kind: "message", sequence: this.#nextNew, message });
    if (this.#keptBytes + bytes.length > MAX_UNACKNOWLEDGED_BYTES) {
      throw protocolError(
        "E_LINK_BACKLOG",
        `cannot send more: ${this.#keptBytes} bytes wait for the peer already`,
        "the link is too slow or has been down for too long; try again",
      );
    }
    this.#kept.push({ sequence: this.#nextNew, bytes });
    this.#keptBytes += bytes.length;
    this.#nextNew++;
  }

  /** The next message to go out; it stays until `take`. */
  peek(): Outgoing | undefined {
    const first = this.#kept[0];
    return first === undefined ? undefined : this.#kept[this.#nextOut - first.sequence];
  }

  /** The message that `peek` showed has gone out. */
  take(): void {
    assert(this.#nextOut < this.#nextNew, "something waits");
    this.#nextOut++;
  }

  /**
   * A new connection: the peer wants `next` first. Whatever it has is forgotten, the rest goes out
   * again. Throws E_PROTOCOL_SEQUENCE for what was never sent or is gone.
   */
  resume(next: number): void {
    this.acknowledge(next);
    this.#nextOut = next;
  }

  /** The peer has everything below `next`. Throws E_PROTOCOL_SEQUENCE. Gives how many are new. */
  acknowledge(next: number): number {
    const oldest = this.#kept[0]?.sequence ?? this.#nextNew;
    // An old acknowledgement may arrive on the same connection never, on a new one never before
    // `hello`: there is no excuse for one that goes back.
    if (next < oldest || next > this.#nextOut) {
      throw protocolError(
        "E_PROTOCOL_SEQUENCE",
        `cannot take acknowledgement ${next}: expected ${oldest} .. ${this.#nextOut}`,
      );
    }
    const count = next - oldest;
    for (const { bytes } of this.#kept.splice(0, count)) this.#keptBytes -= bytes.length;
    return count;
  }

  /** A message arrived: whether it is new. Throws E_PROTOCOL_SEQUENCE where one is missing. */
  accept(sequence: number): boolean {
    if (sequence < this.#nextIn) {
      this.#duplicates++;
      return false;
    }
    if (sequence > this.#nextIn) {
      throw protocolError(
        "E_PROTOCOL_SEQUENCE",
        `cannot take message ${sequence}: expected ${this.#nextIn}`,
      );
    }
    this.#nextIn++;
    return true;
  }
}
