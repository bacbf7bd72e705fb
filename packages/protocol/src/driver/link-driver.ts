/** Runs a `Link` over real connections and the real clock. */
import type { BulkMessage } from "../bulk.ts";
import type { ProtocolError } from "../errors.ts";
import type { Hello, Message } from "../frame.ts";
import { Link, type LinkMeasures } from "../link.ts";
import type { LinkAction, LinkEvent, LinkOptions, Peer } from "../link-types.ts";
import type { Dial, FrameSocket, FrameSocketEvents } from "./frame-socket.ts";

/** Timers that fire early would find nothing due. */
const MIN_TIMER_MS = 0.5;
/** Bulk messages that may wait in the link. */
const BULK_ROOM = 4;

/** What a link's owner hears. */
export interface LinkHandlers {
  readonly onMessage: (message: Message) => void;
  readonly onUp: (peer: Peer) => void;
  readonly onDown: () => void;
  readonly onLost: (error: ProtocolError) => void;
  /** After everything else that happened: a good time to look what the link has room for. */
  readonly onIdle: () => void;
}

/** What a link's owner looks at. */
export interface LinkState extends LinkMeasures {
  readonly isUp: boolean;
  readonly isQuiet: boolean;
  readonly bulkRoom: number;
  readonly bulkMessageBytes: number;
}

/** See the head of this file. */
export class LinkDriver {
  readonly #link: Link;
  readonly #dial: Dial | undefined;
  readonly #handlers: LinkHandlers;
  readonly #sockets = new Map<number, FrameSocket>();
  #connections = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #isDraining = false;

  /** `dial` for a dialer; a listener is given its connections by `attach`. */
  constructor(
    options: Omit<LinkOptions, "now" | "role">,
    dial: Dial | undefined,
    handlers: LinkHandlers,
  ) {
    this.#dial = dial;
    this.#handlers = handlers;
    const role = dial === undefined ? "listener" : "dialer";
    this.#link = new Link({ ...options, role, now: performance.now() });
    queueMicrotask(() => this.#drain());
  }

  get state(): LinkState {
    const link = this.#link;
    return {
      ...link.measures,
      isUp: link.isUp,
      isQuiet: link.isQuiet,
      bulkRoom: link.wantsBulk ? BULK_ROOM : 0,
      bulkMessageBytes: link.bulkMessageBytes,
    };
  }

  send(message: Message): void {
    this.#link.send(message, performance.now());
    this.#drain();
  }

  sendBulk(message: BulkMessage): void {
    this.#link.sendBulk(message, performance.now());
    this.#drain();
  }

  neverGiveUp(): void {
    this.#link.neverGiveUp();
  }

  /** A connection that the peer made, whose first message was `hello`: what to do with the rest. */
  attach(socket: FrameSocket, hello: Hello): FrameSocketEvents {
    const connection = this.#add(socket);
    this.#handle({ kind: "attach", connection, hello });
    return this.#eventsOf(connection);
  }

  close(reason?: string): void {
    this.#link.close(performance.now(), reason);
    this.#drain();
    clearTimeout(this.#timer);
  }

  #add(socket: FrameSocket): number {
    const connection = ++this.#connections;
    this.#sockets.set(connection, socket);
    return connection;
  }

  #eventsOf(connection: number): FrameSocketEvents {
    return {
      onMessage: (bytes) => this.#handle({ kind: "received", connection, bytes }),
      onClose: (code) => {
        this.#sockets.delete(connection);
        const event: LinkEvent = { kind: "disconnected", connection };
        this.#handle(code === undefined ? event : { ...event, code });
      },
    };
  }

  #handle(event: LinkEvent): void {
    this.#link.handle(event, performance.now());
    this.#drain();
  }

  #drain(): void {
    // What a handler does comes back here: the outer call goes on with it.
    if (this.#isDraining) return;
    this.#isDraining = true;
    try {
      for (let action = this.#link.poll(); action !== undefined; action = this.#link.poll()) {
        this.#act(action);
      }
      this.#handlers.onIdle();
      for (let action = this.#link.poll(); action !== undefined; action = this.#link.poll()) {
        this.#act(action);
      }
    } finally {
      this.#isDraining = false;
    }
    this.#schedule();
  }

  #act(action: LinkAction): void {
    switch (action.kind) {
      case "dial":
        void this.#connect(action.channel);
        return;
      case "write":
        this.#sockets.get(action.connection)?.send(action.bytes);
        return;
      case "close":
        this.#sockets.get(action.connection)?.close(action.code, action.reason);
        this.#sockets.delete(action.connection);
        return;
      case "deliver":
        return this.#handlers.onMessage(action.message);
      case "up":
        return this.#handlers.onUp(action.peer);
      case "down":
        return this.#handlers.onDown();
      case "lost":
        return this.#handlers.onLost(action.error);
    }
  }

  async #connect(channel: number): Promise<void> {
    let events: FrameSocketEvents | undefined;
    // What comes before the connection is known here waits for it.
    const early: (() => void)[] = [];
    const later = (action: (to: FrameSocketEvents) => void) => {
      if (events !== undefined) action(events);
      else early.push(() => events && action(events));
    };
    try {
      const socket = await this.#dial?.(channel, {
        onMessage: (bytes) => later((to) => to.onMessage(bytes)),
        onClose: (code) => later((to) => to.onClose(code)),
      });
      if (socket === undefined) return;
      const connection = this.#add(socket);
      events = this.#eventsOf(connection);
      this.#handle({ kind: "connected", channel, connection });
      for (const action of early) action();
    } catch {
      this.#handle({ kind: "dial-failed", channel });
    }
  }

  #schedule(): void {
    const at = this.#link.wakeAt ?? Number.POSITIVE_INFINITY;
    if (at === this.#timerAt) return;
    clearTimeout(this.#timer);
    this.#timerAt = at;
    if (!Number.isFinite(at)) return;
    const ms = Math.max(MIN_TIMER_MS, at - performance.now());
    this.#timer = setTimeout(
      () => {
        this.#timerAt = Number.POSITIVE_INFINITY;
        this.#handle({ kind: "time" });
      },
      Math.min(ms, 2 ** 30),
    );
  }
}
