/**
 * The old host's part in connections that were open when their machine moved: the gateway here, or
 * one on a host where it was before, keeps them, and their frames go through a link to the host
 * where the machine lives now. The link
 * is opened before the machine is frozen, dialled again when it breaks, and ends with the last
 * connection or when its time is over.
 */
import { type FlowEdge, flowsMessage, TunnelSource } from "@dejavm/gateway";
import type { WebSocket } from "ws";

/** How long connections from before a move are kept up. */
const RELAY_MS = 3_600_000;
const REDIAL_MS = 500;

/** See the head of this file. */
export class FlowRelay {
  readonly #edge: FlowEdge;
  readonly #dial: () => Promise<WebSocket>;
  readonly #onOver: () => void;
  #link: WebSocket | undefined;
  #source: TunnelSource | undefined;
  /** What came before there was somebody here to take it. */
  readonly #early: Uint8Array[] = [];
  #flowsAtFreeze: Uint8Array | undefined;
  #isOver = false;
  #limit: NodeJS.Timeout | undefined;

  /** Dials at once. `onOver`: nothing is relayed any more; not called where nothing ever was. */
  constructor(edge: FlowEdge, dial: () => Promise<WebSocket>, onOver: () => void) {
    this.#edge = edge;
    this.#dial = dial;
    this.#onOver = onOver;
    void this.#connect();
  }

  /** The machine stands still: the other side learns which connections are ours. */
  frozen(): void {
    this.#flowsAtFreeze = flowsMessage(this.#edge);
    this.#send(this.#flowsAtFreeze);
  }

  /** The machine lives there: what is open is relayed from now on. */
  moved(): void {
    this.#source = new TunnelSource(this.#edge, {
      send: (message) => this.#send(message),
      onOver: () => this.#over(),
    });
    this.#limit = setTimeout(() => this.#source?.end(), RELAY_MS);
    this.#limit.unref();
    for (const message of this.#early.splice(0)) this.#receive(message);
  }

  /** The machine has stayed here, or the agent ends. */
  close(): void {
    this.#isOver = true;
    clearTimeout(this.#limit);
    this.#link?.close();
  }

  get flowCount(): number {
    return this.#source === undefined || this.#isOver ? 0 : this.#edge.openFlows().length;
  }

  async #connect(): Promise<void> {
    while (!this.#isOver && this.#link === undefined) {
      try {
        this.#take(await this.#dial());
      } catch {
        await new Promise((resolve) => {
          setTimeout(resolve, REDIAL_MS).unref();
        });
      }
    }
  }

  #take(link: WebSocket): void {
    if (this.#isOver) {
      link.close();
      return;
    }
    this.#link = link;
    link.on("message", (data: Buffer) => this.#receive(new Uint8Array(data)));
    link.on("error", () => link.terminate());
    link.on("close", () => {
      this.#link = undefined;
      this.#source?.interrupt();
      void this.#connect();
    });
    if (this.#source !== undefined) this.#source.resume();
    else if (this.#flowsAtFreeze !== undefined) this.#send(this.#flowsAtFreeze);
  }

  #receive(message: Uint8Array): void {
    if (this.#source === undefined) {
      this.#early.push(message);
      return;
    }
    try {
      this.#source.receive(message);
    } catch {
      this.#link?.terminate();
    }
  }

  #send(message: Uint8Array): void {
    this.#link?.send(message);
  }

  #over(): void {
    if (this.#isOver) return;
    this.close();
    this.#onOver();
  }
}
