/** Connections between simulated hosts: delay, cuts, messages that come after their connection. */
import type { Prng } from "@dejavm/base";
import {
  type BulkMessage,
  DEFAULT_LINK_TIMES,
  decodeFrame,
  type Hello,
  Link,
  type LinkAction,
  type Message,
  PROTOCOL_VERSIONS,
} from "@dejavm/protocol";
import type { Mischief } from "./mischief.ts";

/** The first kind of frame that carries a message of a channel: those before are of connections. */
const FIRST_MESSAGE_KIND = 0x10;

/** What a link's owner hears. */
export interface SimLinkHandlers {
  readonly onMessage: (message: Message) => void;
  readonly onUp: () => void;
  readonly onDown: () => void;
  readonly onLost: (code: string, message: string) => void;
}

/** A connection's end: who gets what arrives there. */
interface End {
  readonly host: string;
  deliver: (bytes: Uint8Array) => void;
  closed: (code: number | undefined) => void;
}

interface Connection {
  readonly ends: [End, End];
  /** When the last message arrives, by sender. */
  readonly lastAt: [number, number];
  /** Whether nothing more arrives, by receiver. */
  readonly isDry: [boolean, boolean];
}

interface Flight {
  readonly at: number;
  readonly order: number;
  readonly action: () => void;
}

/** See the head of this file. */
export class SimNetwork {
  now = 0;
  isCut = false;
  /** Whether frames come twice on connections that were made after another one broke. */
  repeats = false;
  /** The host that does harm, and what. */
  hostile: { readonly host: string; readonly mischief: Mischief } | undefined;
  /** Called when the hostile host fails at its own lies. */
  onBroken: () => void = () => undefined;
  /** Every connection breaks when so many more bytes have been sent. */
  #cutAfterBytes = Number.POSITIVE_INFINITY;
  #breaks = 0;
  readonly #prng: Prng;
  readonly #flights: Flight[] = [];
  readonly #connections = new Map<number, Connection>();
  readonly #listeners = new Map<string, (connection: number, hello: Hello) => End | undefined>();
  #order = 0;
  #next = 1;
  readonly oneWayMs: number;

  constructor(prng: Prng, oneWayMs: number) {
    this.#prng = prng;
    this.oneWayMs = oneWayMs;
  }

  /** Who answers connections to a host; undefined: nobody is there. */
  listen(
    host: string,
    accept: ((connection: number, hello: Hello) => End | undefined) | undefined,
  ): void {
    if (accept === undefined) this.#listeners.delete(host);
    else this.#listeners.set(host, accept);
  }

  /** Everything that is due by now. */
  advance(now: number): void {
    this.now = now;
    if (this.isCut) return;
    // What is sent meanwhile arrives later: one look is enough, however many there are.
    const later = this.#flights.findIndex(({ at }) => at > now);
    const due = this.#flights.splice(0, later < 0 ? this.#flights.length : later);
    for (const { action } of due) action();
  }

  /** Cuts all connections within or between messages: when that many more bytes have left. */
  cutAfter(bytes: number): void {
    this.#cutAfterBytes = bytes;
  }

  /** A connection from `from` to `to`; answers its number, or undefined where nobody answers. */
  connect(from: End, to: string): number | undefined {
    if (this.isCut || !this.#listeners.has(to)) return undefined;
    const id = this.#next++;
    const far: End = {
      host: to,
      deliver: (bytes) => {
        const frame = tryDecode(bytes);
        const connection = this.#connections.get(id);
        const end = frame && this.#listeners.get(to)?.(id, frame);
        if (connection === undefined) return;
        if (end === undefined) this.close(id, 1, 4404);
        else connection.ends[1] = end;
      },
      closed: () => undefined,
    };
    this.#connections.set(id, { ends: [from, far], lastAt: [0, 0], isDry: [false, false] });
    return id;
  }

  send(id: number, from: 0 | 1, bytes: Uint8Array): void {
    const host = this.#connections.get(id)?.ends[from].host;
    const { hostile } = this;
    const frames = hostile?.host === host ? hostile?.mischief.frames(bytes) : undefined;
    for (const frame of frames ?? [bytes]) this.#send(id, from, frame);
  }

  #send(id: number, from: 0 | 1, bytes: Uint8Array): void {
    const connection = this.#connections.get(id);
    if (connection === undefined) return;
    this.#cutAfterBytes -= bytes.length;
    if (this.#cutAfterBytes <= 0) {
      this.#cutAfterBytes = Number.POSITIVE_INFINITY;
      return this.breakAll();
    }
    const jitter = this.#prng.below(3);
    const at = Math.max(this.now + this.oneWayMs + jitter, connection.lastAt[from]);
    connection.lastAt[from] = at;
    const to = from === 0 ? 1 : 0;
    this.#at(at, () => {
      // The connection is gone: a part of what was under way may still come out of some buffer.
      const isThere = this.#connections.has(id) || !this.#prng.oneIn(3);
      if (!isThere) connection.isDry[to] = true;
      if (!connection.isDry[to]) this.#deliver(connection.ends[to], bytes);
    });
  }

  #deliver(end: End, bytes: Uint8Array): void {
    const isMessage = (bytes[0] ?? 0) >= FIRST_MESSAGE_KIND;
    const isRepeated = this.repeats && this.#breaks > 0 && isMessage && this.#prng.oneIn(4);
    try {
      end.deliver(bytes);
      if (isRepeated) end.deliver(bytes);
    } catch (error) {
      // What a hostile host cannot digest itself is its own affair.
      if (end.host !== this.hostile?.host || !this.hostile.mischief.isOn) throw error;
      this.onBroken();
    }
  }

  close(id: number, from: 0 | 1, code: number | undefined): void {
    const connection = this.#connections.get(id);
    if (connection === undefined) return;
    this.#connections.delete(id);
    const to = from === 0 ? 1 : 0;
    this.#at(this.now + this.oneWayMs, () => connection.ends[to].closed(code));
  }

  /** Every connection of a host, or of all, breaks; both ends hear of it, or only one does. */
  breakAll(host?: string): void {
    this.#breaks++;
    for (const [id, { ends }] of this.#connections) {
      if (host !== undefined && !ends.some((end) => end.host === host)) continue;
      this.#connections.delete(id);
      for (const end of ends)
        this.#at(this.now + this.#prng.below(20), () => end.closed(undefined));
    }
  }

  #at(at: number, action: () => void): void {
    const flight = { at, order: this.#order++, action };
    const after = this.#flights.findLastIndex((other) => other.at <= at);
    this.#flights.splice(after + 1, 0, flight);
  }
}

function tryDecode(bytes: Uint8Array): Hello | undefined {
  try {
    const frame = decodeFrame(bytes);
    return frame.kind === "hello" ? frame : undefined;
  } catch {
    return undefined;
  }
}

/** A link of a simulated host. */
export class SimLink {
  readonly link: Link;
  isOver = false;
  readonly #network: SimNetwork;
  readonly #host: string;
  readonly #peer: string;
  readonly #handlers: SimLinkHandlers;
  readonly #sides = new Map<number, 0 | 1>();

  constructor(options: {
    readonly network: SimNetwork;
    readonly host: string;
    readonly peer: string;
    readonly role: "dialer" | "listener";
    readonly name: string;
    readonly handlers: SimLinkHandlers;
    readonly giveUpAfterMs: number;
  }) {
    const { network, host, peer, role, name, handlers, giveUpAfterMs } = options;
    this.#network = network;
    this.#host = host;
    this.#peer = peer;
    this.#handlers = handlers;
    this.link = new Link({
      role,
      link: name,
      agent: host,
      capabilities: [],
      versions: PROTOCOL_VERSIONS,
      bulkChannels: 1,
      maxBytesPerMs: Number.POSITIVE_INFINITY,
      times: {
        ...DEFAULT_LINK_TIMES,
        connectMs: 1000,
        keepAliveMs: 300,
        deadAfterMs: 1000,
        giveUpAfterMs,
      },
      now: network.now,
    });
  }

  /** The peer has dialled. */
  attach(connection: number, hello: Hello): End {
    this.#sides.set(connection, 1);
    this.link.handle({ kind: "attach", connection, hello }, this.#network.now);
    return this.#end(connection);
  }

  send(message: Message): void {
    for (const said of this.#said(message)) this.link.send(said, this.#network.now);
  }

  sendBulk(message: BulkMessage): void {
    for (const said of this.#said(message)) {
      if (said === message) this.link.sendBulk(message, this.#network.now);
      else this.link.send(said, this.#network.now);
    }
  }

  #said(message: Message): readonly Message[] {
    const { hostile } = this.#network;
    return hostile?.host === this.#host ? hostile.mischief.messages(message) : [message];
  }

  /** Does what is due. */
  pump(): void {
    const { now } = this.#network;
    const due = this.link.wakeAt;
    if (due !== undefined && due <= now) this.link.handle({ kind: "time" }, now);
    for (let action = this.link.poll(); action !== undefined; action = this.link.poll()) {
      this.#act(action);
    }
  }

  close(): void {
    this.isOver = true;
    this.link.close(this.#network.now);
    this.pump();
  }

  #act(action: LinkAction): void {
    const { now } = this.#network;
    switch (action.kind) {
      case "dial": {
        const end = this.#end(undefined);
        const connection = this.#network.connect(end, this.#peer);
        const { channel } = action;
        if (connection === undefined) {
          this.link.handle({ kind: "dial-failed", channel }, now);
          return;
        }
        end.bind(connection);
        this.#sides.set(connection, 0);
        this.link.handle({ kind: "connected", channel, connection }, now);
        return;
      }
      case "write":
        return this.#network.send(
          action.connection,
          this.#sides.get(action.connection) ?? 0,
          action.bytes,
        );
      case "close":
        return this.#network.close(
          action.connection,
          this.#sides.get(action.connection) ?? 0,
          action.code,
        );
      case "deliver":
        if (!this.isOver) this.#handlers.onMessage(action.message);
        return;
      case "up":
        return this.#handlers.onUp();
      case "down":
        return this.#handlers.onDown();
      case "lost":
        this.isOver = true;
        return this.#handlers.onLost(action.error.code, action.error.message);
    }
  }

  #end(known: number | undefined): End & { bind: (connection: number) => void } {
    let connection = known;
    return {
      host: this.#host,
      bind: (id) => {
        connection = id;
      },
      deliver: (bytes) => {
        if (connection === undefined) return;
        this.link.handle({ kind: "received", connection, bytes }, this.#network.now);
      },
      closed: (code) => {
        if (connection === undefined) return;
        const event = { kind: "disconnected", connection } as const;
        this.link.handle(code === undefined ? event : { ...event, code }, this.#network.now);
      },
    };
  }
}
