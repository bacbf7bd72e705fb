/**
 * The rig itself: sockets on both sides of a `WanPath`. It reads no further than the path takes, so
 * who sends feels the path; it writes what has arrived when it is due, to about a millisecond.
 */
import { createConnection, createServer, type Server, type Socket } from "node:net";
import { CodedError } from "@dejavm/base";
import { formatWanAddress, type WanAddress } from "../address.ts";
import { type End, WanPath, type WanStatistics } from "../path.ts";
import type { Direction, WanAction, WanErrorCode, WanProfile } from "../profile.ts";

/** What a rig is made from. */
export interface WanRigOptions {
  readonly listen: WanAddress;
  readonly to: WanAddress;
  readonly profile: WanProfile;
  /** Decides jitter and stalled segments. */
  readonly seed: number;
}

interface Connection {
  readonly flow: number;
  readonly sockets: Record<End, Socket | undefined>;
}

const DIRECTION_FROM: Readonly<Record<End, Direction>> = { client: "up", server: "down" };
const DESTINATION: Readonly<Record<Direction, End>> = { up: "server", down: "client" };
const ENDS: readonly End[] = ["client", "server"];

/** One path on this host; every connection through it shares its two links. */
export class WanRig {
  readonly #options: WanRigOptions;
  readonly #path: WanPath;
  readonly #server: Server;
  readonly #connections = new Map<number, Connection>();
  #flows = 0;
  #timer: NodeJS.Timeout | undefined;
  #timerAtMs = Infinity;
  #soon: NodeJS.Immediate | undefined;
  #address: WanAddress;

  private constructor(options: WanRigOptions) {
    this.#options = options;
    this.#address = options.listen;
    this.#path = new WanPath(options.profile, options.seed);
    this.#server = createServer({ allowHalfOpen: true, noDelay: true }, (socket) => {
      this.#accept(socket);
    });
  }

  /** Starts a rig; throws E_WAN_LISTEN where it cannot listen. */
  static async listen(options: WanRigOptions): Promise<WanRig> {
    const rig = new WanRig(options);
    await rig.#listen();
    return rig;
  }

  /** Where it listens, with the port that it got. */
  get address(): WanAddress {
    return this.#address;
  }

  get statistics(): WanStatistics {
    return this.#path.statistics;
  }

  /** Does something to the path now. */
  perform(action: WanAction): void {
    this.#path.perform(action, performance.now());
    this.#pump();
  }

  /** Resets what is open and stops listening. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    clearImmediate(this.#soon);
    for (const { sockets } of this.#connections.values()) {
      for (const end of ENDS) sockets[end]?.destroy();
    }
    this.#connections.clear();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  async #listen(): Promise<void> {
    const { listen } = this.#options;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    this.#server.once("error", (cause) => reject(listenError(listen, cause)));
    this.#server.listen(
      listen.kind === "unix" ? { path: listen.path } : { host: listen.host, port: listen.port },
      resolve,
    );
    await promise;
    const bound = this.#server.address();
    if (listen.kind === "tcp" && bound !== null && typeof bound !== "string") {
      this.#address = { ...listen, port: bound.port };
    }
  }

  #accept(client: Socket): void {
    const flow = ++this.#flows;
    const reception = this.#path.connect(flow, performance.now());
    if (reception === "reset") {
      client.on("error", () => undefined);
      reset(client);
      return;
    }
    const connection: Connection = { flow, sockets: { client, server: undefined } };
    this.#connections.set(flow, connection);
    this.#wire(connection, "client", client);
    if (reception === "dial") this.#wire(connection, "server", dial(this.#options.to));
    this.#pump();
  }

  #wire(connection: Connection, end: End, socket: Socket): void {
    const { flow } = connection;
    const direction = DIRECTION_FROM[end];
    connection.sockets[end] = socket;
    socket.on("data", (bytes: Buffer) => {
      this.#path.offer(flow, direction, bytes, performance.now());
      this.#pump();
    });
    socket.on("end", () => this.#end(connection, end, "fin"));
    socket.on("error", () => this.#end(connection, end, "reset"));
    socket.on("close", () => {
      connection.sockets[end] = undefined;
      if (ENDS.some((other) => connection.sockets[other] !== undefined)) return;
      this.#connections.delete(flow);
      this.#path.close(flow);
    });
  }

  #end({ flow }: Connection, end: End, how: "fin" | "reset"): void {
    this.#path.offer(flow, DIRECTION_FROM[end], how, performance.now());
    this.#pump();
  }

  /** Does what is due, reads where there is room again, and sets the alarm for what comes next. */
  #pump(): void {
    for (const event of this.#path.poll(performance.now())) {
      const connection = this.#connections.get(event.flow);
      if (event.kind === "reset") reset(connection?.sockets[event.end]);
      else this.#deliver(connection, event.direction, event.what);
    }
    for (const { flow, sockets } of this.#connections.values()) {
      for (const end of ENDS) {
        const socket = sockets[end];
        if (socket === undefined) continue;
        const hungry = this.#path.hungry(flow, DIRECTION_FROM[end]);
        if (hungry && socket.isPaused()) socket.resume();
        else if (!hungry && !socket.isPaused()) socket.pause();
      }
    }
    this.#setAlarm();
  }

  #deliver(
    connection: Connection | undefined,
    direction: Direction,
    what: Uint8Array | "fin" | "reset",
  ): void {
    if (connection === undefined) return;
    const socket = connection.sockets[DESTINATION[direction]];
    if (typeof what === "string") {
      if (what === "fin") socket?.end();
      else reset(socket);
      return;
    }
    const { flow } = connection;
    const taken = (): void => {
      this.#path.taken(flow, direction, what.length, performance.now());
      // The window has opened: what waited may be on its way now.
      this.#pumpSoon();
    };
    if (socket === undefined || socket.destroyed) taken();
    else socket.write(what, taken);
  }

  #pumpSoon(): void {
    this.#soon ??= setImmediate(() => {
      this.#soon = undefined;
      this.#pump();
    });
  }

  #setAlarm(): void {
    const atMs = this.#path.nextMs() ?? Infinity;
    if (atMs === this.#timerAtMs) return;
    clearTimeout(this.#timer);
    this.#timerAtMs = atMs;
    if (atMs === Infinity) return;
    this.#timer = setTimeout(
      () => {
        this.#timerAtMs = Infinity;
        this.#pump();
      },
      Math.max(0, atMs - performance.now()),
    );
  }
}

function dial(to: WanAddress): Socket {
  return to.kind === "unix"
    ? createConnection({ path: to.path, allowHalfOpen: true })
    : createConnection({ host: to.host, port: to.port, allowHalfOpen: true, noDelay: true });
}

/** A TCP connection ends with RST, as where a middlebox gives up; a Unix socket just ends. */
function reset(socket: Socket | undefined): void {
  if (socket === undefined || socket.destroyed) return;
  if (socket.remoteAddress === undefined) socket.destroy();
  else socket.resetAndDestroy();
}

function listenError(address: WanAddress, cause: Error): CodedError<WanErrorCode> {
  return new CodedError(
    "E_WAN_LISTEN",
    `cannot listen at ${formatWanAddress(address)}: ${cause.message}`,
    { hint: "choose another address, or stop what has it", cause },
  );
}
