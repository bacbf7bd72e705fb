/**
 * A client of a redis that is being moved. It writes and reads in turn on one connection, checks
 * every answer against what was acknowledged before, and can read everything back at the end.
 */
import { hash } from "node:crypto";
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { Prng } from "@dejavm/base";
import { RespParser, type RespValue } from "./resp.ts";

/** How a client works. */
export interface RedisClientOptions {
  readonly host: string;
  readonly port: number;
  readonly keyCount: number;
  readonly valueBytes: number;
  readonly operationsPerSecond: number;
  /** Decides which keys are written and read. */
  readonly seed: number;
  /** Of its keys' names: two clients with different ones do not meet. */
  readonly prefix?: string;
}

/** What a client has seen so far. */
export interface RedisReport {
  /** Writes that redis has acknowledged. */
  readonly acknowledged: number;
  readonly operations: number;
  /** Answers that were not what had been acknowledged. */
  readonly wrong: number;
  /** The first few answers that were not right, in words. */
  readonly differences: readonly string[];
  /** The longest time from a request to its answer, milliseconds. */
  readonly longestMs: number;
  /** False once the connection has ended or failed. */
  readonly connected: boolean;
  readonly problem: string | undefined;
}

/** Requests that are sent together while keys are filled and read back. */
const BATCH = 100;
const GREETING_TRIES = 120;
const MAX_DIFFERENCES = 10;

/** See the head of this file. */
export class RedisClient {
  readonly #options: RedisClientOptions;
  readonly #prng: Prng;
  /** Version acknowledged last, by key; 0: never written. */
  readonly #versions: Uint32Array;
  readonly #connection: RespConnection;
  #acknowledged = 0;
  #operations = 0;
  #wrong = 0;
  readonly #differences: string[] = [];
  #longestMs = 0;
  /** A write that was not answered yet: it may have been done or not. */
  #unanswered: { readonly key: number; readonly version: number } | undefined;
  #askedAtMs: number | undefined;
  #stopped = false;
  #loop: Promise<void> | undefined;

  private constructor(options: RedisClientOptions, connection: RespConnection) {
    this.#options = options;
    this.#prng = new Prng(options.seed);
    this.#versions = new Uint32Array(options.keyCount);
    this.#connection = connection;
  }

  /** Connects, waiting for the server to come up, and writes every key once. */
  static async start(options: RedisClientOptions): Promise<RedisClient> {
    const client = new RedisClient(options, await greet(options));
    for (let from = 0; from < options.keyCount; from += BATCH) {
      const keys = client.#range(from);
      const replies = await client.#connection.askAll(keys.map((key) => client.#set(key, 1)));
      for (const [at, key] of keys.entries()) client.#acknowledge(key, 1, replies[at]);
    }
    return client;
  }

  get report(): RedisReport {
    const waiting = this.#askedAtMs === undefined ? 0 : performance.now() - this.#askedAtMs;
    return {
      acknowledged: this.#acknowledged,
      operations: this.#operations,
      wrong: this.#wrong,
      differences: this.#differences,
      longestMs: Math.max(this.#longestMs, waiting),
      connected: this.#connection.problem === undefined,
      problem: this.#connection.problem,
    };
  }

  /** Works until `stop`, at the rate asked for; what was missed is not made up for. */
  work(): void {
    this.#longestMs = 0;
    this.#stopped = false;
    // The connection remembers what was wrong with it.
    this.#loop = this.#work().catch(() => undefined);
  }

  /** Ends after the operation that is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    await this.#loop;
  }

  /** Reads all keys back, a new connection at `port`; gives how many are not as acknowledged. */
  async lost(
    through: "same-connection" | "new-connection",
    port = this.#options.port,
  ): Promise<number> {
    const fresh = through === "new-connection";
    const connection = fresh ? await greet({ ...this.#options, port }) : this.#connection;
    let lost = 0;
    try {
      for (let from = 0; from < this.#options.keyCount; from += BATCH) {
        const keys = this.#range(from);
        const replies = await connection.askAll(keys.map((key) => ["GET", this.#nameOf(key)]));
        for (const [at, key] of keys.entries()) {
          if (!this.#isRight(key, replies[at])) lost++;
        }
      }
    } finally {
      if (fresh) connection.close();
    }
    return lost;
  }

  close(): void {
    this.#connection.close();
  }

  async #work(): Promise<void> {
    const everyMs = 1000 / this.#options.operationsPerSecond;
    let dueMs = performance.now();
    for (let turn = 0; !this.#stopped; turn++) {
      const key = this.#prng.below(this.#options.keyCount);
      this.#askedAtMs = performance.now();
      await (turn % 2 === 0 ? this.#write(key) : this.#read(key));
      const tookMs = performance.now() - this.#askedAtMs;
      this.#askedAtMs = undefined;
      this.#operations++;
      this.#longestMs = Math.max(this.#longestMs, tookMs);
      dueMs = Math.max(dueMs + everyMs, performance.now() - everyMs);
      await sleep(Math.max(0, dueMs - performance.now()));
    }
  }

  async #write(key: number): Promise<void> {
    const version = (this.#versions[key] ?? 0) + 1;
    this.#unanswered = { key, version };
    const [reply] = await this.#connection.askAll([this.#set(key, version)]);
    this.#unanswered = undefined;
    this.#acknowledge(key, version, reply);
  }

  async #read(key: number): Promise<void> {
    const [reply] = await this.#connection.askAll([["GET", this.#nameOf(key)]]);
    if (!this.#isRight(key, reply)) this.#wrong++;
  }

  #acknowledge(key: number, version: number, reply: RespValue | undefined): void {
    if (reply !== "OK") {
      this.#wrong++;
      return;
    }
    this.#versions[key] = version;
    this.#acknowledged++;
  }

  #isRight(key: number, reply: RespValue | undefined): boolean {
    const versions = [this.#versions[key] ?? 0];
    if (this.#unanswered?.key === key) versions.push(this.#unanswered.version);
    const isRight =
      reply instanceof Uint8Array &&
      versions.some(
        (version) => Buffer.compare(reply, valueOf(key, version, this.#options.valueBytes)) === 0,
      );
    if (!isRight && this.#differences.length < MAX_DIFFERENCES) {
      const found =
        reply instanceof Uint8Array
          ? Buffer.from(reply.subarray(0, 20)).toString("latin1")
          : JSON.stringify(reply);
      this.#differences.push(`key ${key}: want version ${versions.join(" or ")}, got ${found}`);
    }
    return isRight;
  }

  #nameOf(key: number): string {
    return `${this.#options.prefix ?? "key"}:${String(key).padStart(6, "0")}`;
  }

  #set(key: number, version: number): readonly (string | Uint8Array)[] {
    return ["SET", this.#nameOf(key), valueOf(key, version, this.#options.valueBytes)];
  }

  #range(from: number): number[] {
    const count = Math.min(BATCH, this.#options.keyCount - from);
    return Array.from({ length: count }, (_, at) => from + at);
  }
}

/** Begins with what it is; the rest does not compress: hex of hashes would, by half. */
function valueOf(key: number, version: number, bytes: number): Uint8Array {
  const parts: Buffer[] = [Buffer.from(`${key}.${version} `)];
  for (let at = 0; at < bytes; at += 64) {
    parts.push(hash("sha512", `${key} ${version} ${at}`, "buffer"));
  }
  return Buffer.concat(parts).subarray(0, bytes);
}

/** A connection that has answered a PING: a forwarded port accepts before the guest does. */
async function greet({ host, port }: RedisClientOptions): Promise<RespConnection> {
  for (let tries = GREETING_TRIES; ; tries--) {
    try {
      const connection = await RespConnection.open(host, port);
      const [reply] = await connection.askAll([["PING"]]);
      if (reply === "PONG") return connection;
      connection.close();
    } catch (error) {
      if (tries === 0) throw error;
    }
    await sleep(250);
  }
}

interface Waiter {
  readonly resolve: (value: RespValue) => void;
  readonly reject: (error: Error) => void;
}

/** One connection; requests are answered in order. */
class RespConnection {
  readonly #socket: Socket;
  readonly #waiters: Waiter[] = [];
  #problem: string | undefined;

  private constructor(socket: Socket) {
    this.#socket = socket;
    const parser = new RespParser();
    socket.on("data", (bytes: Buffer) => {
      for (const value of parser.push(bytes)) this.#waiters.shift()?.resolve(value);
    });
    socket.on("error", (error) => this.#fail(error.message));
    socket.on("close", () => this.#fail("the connection was closed"));
  }

  static async open(host: string, port: number): Promise<RespConnection> {
    const socket = createConnection({ host, port, noDelay: true });
    await once(socket, "connect");
    return new RespConnection(socket);
  }

  get problem(): string | undefined {
    return this.#problem;
  }

  async askAll(requests: readonly (readonly (string | Uint8Array)[])[]): Promise<RespValue[]> {
    if (this.#problem !== undefined) throw new Error(this.#problem);
    const answers = requests.map(
      () => new Promise<RespValue>((resolve, reject) => this.#waiters.push({ resolve, reject })),
    );
    this.#socket.write(Buffer.concat(requests.map(encode)));
    return Promise.all(answers);
  }

  close(): void {
    this.#socket.destroy();
  }

  #fail(problem: string): void {
    this.#problem ??= problem;
    for (const { reject } of this.#waiters.splice(0)) reject(new Error(problem));
  }
}

function encode(words: readonly (string | Uint8Array)[]): Buffer {
  const parts = words.flatMap((word) => {
    const bytes = Buffer.from(word);
    return [Buffer.from(`$${bytes.length}\r\n`), bytes, Buffer.from("\r\n")];
  });
  return Buffer.concat([Buffer.from(`*${words.length}\r\n`), ...parts]);
}
