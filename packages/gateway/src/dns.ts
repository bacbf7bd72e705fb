/**
 * The DNS relay: the guest's queries go to the host's resolvers under numbers of our own; one that
 * stays silent is followed by the next; where all do, the guest gets SERVFAIL (RFC 1035).
 */
import type { Prng } from "@dejavm/base";
import { get16, put16, sameBytes } from "./bytes.ts";
import { Deadlines, type Timed } from "./deadlines.ts";
import type { Environment } from "./environment.ts";

const HEADER_BYTES = 12;
const FLAGS_AT = 2;
const RESPONSE = 0x8000;
const RECURSION_AVAILABLE = 0x0080;
const SERVER_FAILURE = 2;
/** How long a resolver has for an answer. */
const PATIENCE_MS = 2000;
/** Times that each resolver is asked. */
const ROUNDS = 2;

/** One query on its way. */
class Query implements Timed {
  readonly id: number;
  readonly guestPort: number;
  readonly bytes: Uint8Array;
  attempts = 0;
  deadline = 0;
  wakeAt = 0;
  heapIndex = -1;

  constructor(id: number, guestPort: number, bytes: Uint8Array) {
    this.id = id;
    this.guestPort = guestPort;
    this.bytes = bytes;
  }
}

/** See the head of this file. `answer` sends a message to a port of the guest. */
export class DnsRelay {
  readonly #env: Environment;
  readonly #prng: Prng;
  readonly #answer: (guestPort: number, message: Uint8Array) => void;
  readonly #queries = new Map<number, Query>();
  readonly #deadlines = new Deadlines<Query>();

  constructor(
    env: Environment,
    prng: Prng,
    answer: (guestPort: number, message: Uint8Array) => void,
  ) {
    this.#env = env;
    this.#prng = prng;
    this.#answer = answer;
  }

  get deadline(): number {
    return this.#deadlines.next;
  }

  /** A message of the guest's to the DNS address. */
  handleQuery(guestPort: number, message: Uint8Array, now: number): void {
    const { metrics, limits } = this.#env;
    const query = message.length >= HEADER_BYTES && (get16(message, FLAGS_AT) & RESPONSE) === 0;
    if (!query) {
      metrics.drop("bad-message");
      return;
    }
    if (this.#queries.size >= limits.dnsQueries) {
      metrics.drop("dns-limit");
      return;
    }
    metrics.counters.dnsQueries++;
    let id = this.#prng.below(65_536);
    while (this.#queries.has(id)) id = (id + 1) & 0xffff;
    const entry = new Query(id, guestPort, message.slice());
    this.#queries.set(id, entry);
    this.#ask(entry, now);
  }

  /** A message from resolver `index`. */
  handleAnswer(index: number, message: Uint8Array): void {
    const id = message.length >= HEADER_BYTES ? get16(message, 0) : -1;
    const query = this.#queries.get(id);
    const answers = (get16(message, FLAGS_AT) & RESPONSE) !== 0;
    if (query === undefined || !answers || !sameQuestion(query.bytes, message)) {
      this.#env.metrics.drop(query === undefined ? "unknown-peer" : "bad-message");
      return;
    }
    // A late answer of a resolver that was given up is as good as another.
    if (index < 0) return;
    this.#end(query, message.slice());
  }

  handleDeadlines(now: number): void {
    for (;;) {
      const due = this.#deadlines.take(now);
      if (due === undefined) return;
      this.#ask(due, now);
    }
  }

  #ask(query: Query, now: number): void {
    const { resolvers, metrics } = this.#env;
    const resolver = resolvers[query.attempts % Math.max(1, resolvers.length)];
    if (resolver === undefined || query.attempts >= ROUNDS * resolvers.length) {
      metrics.counters.dnsFailures++;
      const failure = query.bytes.slice();
      const flags = get16(failure, FLAGS_AT) | RESPONSE | RECURSION_AVAILABLE | SERVER_FAILURE;
      put16(failure, FLAGS_AT, flags);
      this.#end(query, failure);
      return;
    }
    const index = query.attempts % resolvers.length;
    query.attempts++;
    const bytes = query.bytes.slice();
    put16(bytes, 0, query.id);
    this.#env.emit({ kind: "udp-send", socket: { kind: "resolver", index }, ...resolver, bytes });
    query.deadline = now + PATIENCE_MS;
    this.#deadlines.update(query);
  }

  #end(query: Query, message: Uint8Array): void {
    this.#deadlines.remove(query);
    this.#queries.delete(query.id);
    put16(message, 0, get16(query.bytes, 0));
    this.#answer(query.guestPort, message);
  }
}

/** Whether an answer repeats the query's question; one without a question is an error report. */
function sameQuestion(query: Uint8Array, answer: Uint8Array): boolean {
  if (get16(answer, 4) === 0) return true;
  const end = questionEnd(query);
  return sameBytes(query.subarray(HEADER_BYTES, end), answer.subarray(HEADER_BYTES, end));
}

/** Where the first question of a query ends, or its length. */
function questionEnd(query: Uint8Array): number {
  let at = HEADER_BYTES;
  while (at < query.length) {
    const length = query[at] ?? 0;
    at += 1 + length;
    if (length === 0) return Math.min(query.length, at + 4);
  }
  return query.length;
}
