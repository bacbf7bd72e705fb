import { describe, expect, test } from "vitest";
import { address } from "../address.ts";
import { tcpFrame } from "../test-support/guest-frames.ts";
import { Harness, segments } from "../test-support/harness.ts";
import { LONG_ACK_DELAY_MS, SHORT_ACK_DELAY_MS } from "./ack-delay.ts";
import { FLAG } from "./wire.ts";

const REMOTE = { guestPort: 40_000, remotePort: 80, remoteAddress: address("198.51.100.7") };

/** A guest that answers each request with one byte. */
class Conversation {
  readonly #harness = new Harness();
  readonly #open = this.#harness.open(REMOTE);
  #sequence = this.#open.ours;
  #acknowledgement = this.#open.theirs;

  /** The gateway's bare acknowledgements until `ms` later. */
  guestSays(ms: number): number {
    const frame = tcpFrame({
      ...REMOTE,
      sequence: this.#sequence,
      acknowledgement: this.#acknowledgement,
      flags: FLAG.Ack | FLAG.Psh,
      payload: Uint8Array.of(1),
    });
    this.#sequence++;
    const outputs = [...this.#harness.frame(frame), ...this.#harness.wait(ms)];
    return segments(outputs).filter(({ start, end }) => start === end).length;
  }

  hostSays(): void {
    const { socket } = this.#open;
    this.#harness.event({ kind: "tcp-data", socket, bytes: Uint8Array.of(2) });
    this.#acknowledgement++;
  }
}

describe("a delayed acknowledgement", () => {
  test("waits longer where answers come late, so that they take it along", () => {
    const conversation = new Conversation();
    expect(conversation.guestSays(12)).toBe(1);
    for (let i = 0; i < 5; i++) {
      conversation.hostSays();
      expect(conversation.guestSays(LONG_ACK_DELAY_MS - 1)).toBe(0);
    }
    conversation.hostSays();
    expect(conversation.guestSays(LONG_ACK_DELAY_MS)).toBe(1);
  });

  test("is short again, for good, once a guest has waited for it", () => {
    const conversation = new Conversation();
    conversation.guestSays(12);
    conversation.hostSays();
    expect(conversation.guestSays(LONG_ACK_DELAY_MS + 1)).toBe(1);
    for (let i = 0; i < 5; i++) {
      expect(conversation.guestSays(SHORT_ACK_DELAY_MS)).toBe(1);
      conversation.hostSays();
    }
  });

  test("stays long for a guest that says something much later", () => {
    const conversation = new Conversation();
    conversation.guestSays(12);
    conversation.hostSays();
    conversation.guestSays(LONG_ACK_DELAY_MS + SHORT_ACK_DELAY_MS + 1);
    expect(conversation.guestSays(SHORT_ACK_DELAY_MS + 1)).toBe(0);
  });

  test("stays short where answers come at once", () => {
    const conversation = new Conversation();
    for (let i = 0; i < 5; i++) {
      expect(conversation.guestSays(1)).toBe(0);
      conversation.hostSays();
    }
    expect(conversation.guestSays(SHORT_ACK_DELAY_MS)).toBe(1);
  });
});
