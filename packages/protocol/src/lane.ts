/**
 * One channel of a link together with the connection that carries it at present: greeting,
 * acknowledgements, keep-alive. A connection comes and goes; the lane stays.
 */
import { unreachable } from "@dejavm/base";
import { Channel } from "./channel.ts";
import {
  CLOSE_CODE,
  type CloseCode,
  isProtocolError,
  type ProtocolError,
  protocolError,
} from "./errors.ts";
import { decodeFrame, encodeFrame, type Frame, type Hello, type Message } from "./frame.ts";
import type { LinkTimes } from "./link-types.ts";

/** Names a connection within its process. */
export type ConnectionId = number;

/** How a lane is connected. Times as given to `handle`. */
export type LaneState =
  | { readonly kind: "apart"; readonly since: number }
  /** Somebody was asked to dial. */
  | { readonly kind: "dialing"; readonly since: number }
  /** Connected; the peer's `hello` is still to come. */
  | { readonly kind: "greeting"; readonly connection: ConnectionId; readonly since: number }
  | { readonly kind: "open"; readonly connection: ConnectionId };

/** What a lane does to the outside. */
export interface LaneHost {
  write(connection: ConnectionId, bytes: Uint8Array): void;
  close(connection: ConnectionId, code: CloseCode, reason: string): void;
  deliver(message: Message): void;
  /** `hello` of the peer on this lane; throws what is wrong with it. */
  greeted(hello: Hello): void;
  hello(lane: Lane): Hello;
  acknowledged(lane: Lane, sequences: readonly number[], now: number): void;
  roundTrip(lane: Lane, ms: number, now: number): void;
  /** The peer talks nonsense: the link is over. */
  failed(error: ProtocolError): void;
}

/** See the head of this file. */
export class Lane {
  readonly index: number;
  readonly channel = new Channel();
  readonly #host: LaneHost;
  readonly #times: LinkTimes;
  #state: LaneState;
  #heardAt = 0;
  #pingedAt = 0;
  #ackDue = false;
  #ping: { readonly token: number; readonly at: number } | undefined;
  #nextToken = 0;
  #failures = 0;
  /** Nothing was ever said on this lane: messages may follow the first hello at once. */
  #isNew = true;

  constructor(index: number, host: LaneHost, times: LinkTimes, now: number) {
    this.index = index;
    this.#host = host;
    this.#times = times;
    this.#state = { kind: "apart", since: now };
  }

  get state(): LaneState {
    return this.#state;
  }

  /** Attempts to connect that failed since the lane was last open. */
  get failures(): number {
    return this.#failures;
  }

  /** Somebody has been asked for a connection. */
  dial(now: number): void {
    this.#state = { kind: "dialing", since: now };
  }

  dialFailed(now: number): void {
    if (this.#state.kind !== "dialing") return;
    this.#failures++;
    this.#state = { kind: "apart", since: now };
  }

  /**
   * A connection that this side made: the greeting begins here. On the first one what waits goes
   * out behind `hello`: the peer wants message 0 whatever it answers.
   */
  connected(connection: ConnectionId, now: number): void {
    this.#replace(now);
    this.#begin(connection, now);
    this.#write(encodeFrame(this.#host.hello(this)));
    if (!this.#isNew) return;
    this.#isNew = false;
    while (this.sendNext("greeting") !== undefined);
  }

  /** A connection that the other side made, with its greeting. */
  attach(connection: ConnectionId, hello: Hello, now: number): void {
    this.#replace(now);
    this.#begin(connection, now);
    this.#guarded(() => {
      this.#greeted(hello);
      this.#write(encodeFrame(this.#host.hello(this)));
    });
  }

  disconnected(connection: ConnectionId, now: number): void {
    if (this.connection !== connection) return;
    if (this.#state.kind === "greeting") this.#failures++;
    this.#state = { kind: "apart", since: now };
  }

  get connection(): ConnectionId | undefined {
    return "connection" in this.#state ? this.#state.connection : undefined;
  }

  received(bytes: Uint8Array, now: number): void {
    this.#heardAt = now;
    this.#guarded(() => this.#frame(decodeFrame(bytes), now));
  }

  /** Sends one waiting message; undefined: nothing to send or nowhere to send it. */
  sendNext(when: "open" | "greeting" = "open"): number | undefined {
    const next = this.channel.peek();
    if (next === undefined || this.#state.kind !== when) return undefined;
    this.channel.take();
    this.#write(next.bytes);
    return next.sequence;
  }

  /** Acknowledgements, pings, and the end of connections that died. */
  tend(now: number): void {
    const state = this.#state;
    if (state.kind === "dialing") {
      if (now - state.since >= this.#times.connectMs) this.dialFailed(now);
      return;
    }
    if (state.kind === "apart") return;
    if (now >= this.#deadline(state)) {
      this.#failures++;
      return this.drop(CLOSE_CODE.timeout, "nothing was heard for too long", now);
    }
    if (state.kind !== "open") return;
    if (this.#ackDue) {
      this.#ackDue = false;
      this.#write(encodeFrame({ kind: "ack", next: this.channel.nextIn }));
    }
    if (this.#ping === undefined && now >= this.#pingedAt + this.#times.keepAliveMs) {
      this.#sendPing(now);
    }
  }

  /** When `tend` has something to do next; undefined: after something happens. */
  wakeAt(): number | undefined {
    const state = this.#state;
    if (state.kind === "apart") return undefined;
    if (state.kind === "dialing") return state.since + this.#times.connectMs;
    if (state.kind === "greeting") return this.#deadline(state);
    if (this.#ping !== undefined) return this.#deadline(state);
    return Math.min(this.#deadline(state), this.#pingedAt + this.#times.keepAliveMs);
  }

  drop(code: CloseCode, reason: string, now: number): void {
    const { connection } = this;
    this.#state = { kind: "apart", since: now };
    if (connection !== undefined) this.#host.close(connection, code, reason);
  }

  #deadline(state: Extract<LaneState, { connection: ConnectionId }>): number {
    return state.kind === "greeting"
      ? state.since + this.#times.connectMs
      : this.#heardAt + this.#times.deadAfterMs;
  }

  #replace(now: number): void {
    if (this.connection === undefined) return;
    this.drop(CLOSE_CODE.replaced, "a newer connection takes its place", now);
  }

  #begin(connection: ConnectionId, now: number): void {
    this.#state = { kind: "greeting", connection, since: now };
    this.#heardAt = now;
    this.#ackDue = false;
    this.#ping = undefined;
  }

  #frame(frame: Frame, now: number): void {
    if (frame.kind === "hello") return this.#greeted(frame);
    if (this.#state.kind !== "open") {
      throw protocolError("E_PROTOCOL_STATE", `cannot take ${frame.kind} before hello`);
    }
    switch (frame.kind) {
      case "ack": {
        const first = frame.next - this.channel.acknowledge(frame.next);
        const count = frame.next - first;
        this.#host.acknowledged(
          this,
          Array.from({ length: count }, (_, i) => first + i),
          now,
        );
        return;
      }
      case "ping":
        return this.#write(encodeFrame({ kind: "pong", token: frame.token }));
      case "pong":
        if (this.#ping?.token !== frame.token) return;
        this.#host.roundTrip(this, now - this.#ping.at, now);
        this.#ping = undefined;
        return;
      case "message":
        this.#ackDue = true;
        if (this.channel.accept(frame.sequence)) this.#host.deliver(frame.message);
        return;
      default:
        unreachable(frame);
    }
  }

  #greeted(hello: Hello): void {
    const state = this.#state;
    if (state.kind !== "greeting") {
      throw protocolError("E_PROTOCOL_STATE", "cannot take a second hello on a connection");
    }
    this.#host.greeted(hello);
    this.channel.resume(hello.next);
    this.#failures = 0;
    this.#state = { kind: "open", connection: state.connection };
  }

  #sendPing(now: number): void {
    this.#pingedAt = now;
    this.#ping = { token: this.#nextToken, at: now };
    this.#nextToken = (this.#nextToken + 1) >>> 0;
    this.#write(encodeFrame({ kind: "ping", token: this.#ping.token }));
  }

  #write(bytes: Uint8Array): void {
    const { connection } = this;
    if (connection === undefined) return;
    this.#host.write(connection, bytes);
  }

  #guarded(action: () => void): void {
    try {
      action();
    } catch (error) {
      if (!isProtocolError(error)) throw error;
      this.#host.failed(error);
    }
  }
}
