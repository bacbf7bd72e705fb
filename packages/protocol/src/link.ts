/**
 * A link between two agents for one migration: a control channel that also carries the trace, and
 * bulk channels, each over a connection of its own that may drop and come back. Sans-IO: `handle`
 * takes what happened, `send` and `sendBulk` take messages, `poll` gives one thing to do at a time,
 * in the order in which things came up; `wakeAt` says when time itself is an event.
 *
 * Bulk waits for the pacer's credit. The control channel never waits.
 */
import { assert, unreachable } from "@dejavm/base";
import { type BulkMessage, bulkBytes } from "./bulk.ts";
import { BulkPacer, type SentBulk } from "./bulk-pacer.ts";
import {
  CLOSE_CODE,
  type CloseCode,
  closeCodeOf,
  errorOfClose,
  isProtocolError,
  type ProtocolError,
  protocolError,
} from "./errors.ts";
import type { Hello, Message } from "./frame.ts";
import { type ConnectionId, Lane, type LaneHost } from "./lane.ts";
import { MAX_BULK_CHANNELS } from "./limits.ts";
import {
  type LinkAction,
  type LinkEvent,
  type LinkOptions,
  type Peer,
  redialDelayMs,
} from "./link-types.ts";
import { commonVersion } from "./versions.ts";

/**
 * What waits in the link so that the path never lacks messages: this many at least, and what passes
 * in so many milliseconds. Whoever makes them looks at `wantsBulk`.
 */
const BULK_QUEUE_MESSAGES = 4;
const BULK_QUEUE_MS = 60;
/** How long one bulk message should take on the path, and its bounds in bytes. */
const MESSAGE_MS = 4;
const MIN_MESSAGE_BYTES = 4096;
/** As long as the path is being found out: each message costs both hosts time. */
const EARLY_MESSAGE_BYTES = 32 * 1024;
/** Where the hosts are what limits, larger ones are no queue for the trace, and fewer. */
const STARVED_FACTOR = 2;
const MAX_MESSAGE_BYTES = 128 * 1024;
/** Round trips remembered for the median. */
const RTT_SAMPLES = 15;

/** What is known about the path. */
export interface LinkMeasures {
  /** Median of the last pings on the control connection, ms; undefined before the first. */
  readonly rttMs: number | undefined;
  /** What bulk gets through, bytes per ms; 0 while unknown. */
  readonly bytesPerMs: number;
  readonly bulkUnderWayBytes: number;
  /** Whether no bulk waits to leave: what limits is whoever makes it, and not the path. */
  readonly isStarved: boolean;
  /** Bytes written on all connections, repeats included. */
  readonly writtenBytes: number;
  readonly resumes: number;
}

/** See the head of this file. */
export class Link {
  readonly #options: LinkOptions;
  readonly #lanes: Lane[];
  readonly #control: Lane;
  readonly #pacer: BulkPacer;
  readonly #underWay = new Map<number, SentBulk>();
  readonly #bulkQueue: BulkMessage[] = [];
  readonly #actions: LinkAction[] = [];
  readonly #rtts: number[] = [];
  readonly #sentAt = new Map<number, number>();
  #peer: Peer | undefined;
  readonly #greetedChannels = new Set<number>();
  #up = false;
  #downSince: number;
  #giveUpAfterMs: number;
  #over = false;
  #writtenBytes = 0;
  #resumes = 0;
  #now: number;

  constructor(options: LinkOptions) {
    const { bulkChannels, now, times } = options;
    assert(bulkChannels >= 1 && bulkChannels <= MAX_BULK_CHANNELS, "1 .. 4 bulk channels");
    this.#options = options;
    this.#now = now;
    this.#downSince = now;
    this.#giveUpAfterMs = times.giveUpAfterMs;
    const host = this.#laneHost();
    this.#control = new Lane(0, host, times, now);
    const bulk = Array.from({ length: bulkChannels }, (_, i) => new Lane(i + 1, host, times, now));
    this.#lanes = [this.#control, ...bulk];
    this.#pacer = new BulkPacer(now, options.maxBytesPerMs);
    this.#tend(now);
  }

  /** The name that all its connections carry. */
  get name(): string {
    return this.#options.link;
  }

  get peer(): Peer | undefined {
    return this.#peer;
  }

  get isUp(): boolean {
    return this.#up;
  }

  /** Whether another bulk message should be made: few wait. */
  get wantsBulk(): boolean {
    if (this.#over) return false;
    if (this.#bulkQueue.length < BULK_QUEUE_MESSAGES) return true;
    const bytes = this.#bulkQueue.reduce((sum, message) => sum + bulkBytes(message), 0);
    return bytes < this.#pacer.bytesPerMs * BULK_QUEUE_MS;
  }

  get #isStarved(): boolean {
    return this.#bulkQueue.length === 0;
  }

  /** Bytes that one bulk message had better not exceed: trace cannot overtake what is leaving. */
  get bulkMessageBytes(): number {
    const bytes = this.#pacer.bytesPerMs * MESSAGE_MS;
    const least = this.#pacer.isFindingOut ? EARLY_MESSAGE_BYTES : MIN_MESSAGE_BYTES;
    const factor = this.#isStarved ? STARVED_FACTOR : 1;
    return Math.min(Math.max(bytes, least) * factor, MAX_MESSAGE_BYTES);
  }

  /** Whether nothing waits for an acknowledgement. */
  get isQuiet(): boolean {
    return this.#lanes.every((lane) => lane.channel.keptBytes === 0);
  }

  get measures(): LinkMeasures {
    const sorted = this.#rtts.toSorted((a, b) => a - b);
    return {
      rttMs: sorted[sorted.length >> 1],
      bytesPerMs: this.#pacer.bytesPerMs,
      bulkUnderWayBytes: this.#pacer.underWayBytes,
      isStarved: this.#isStarved,
      writtenBytes: this.#writtenBytes,
      resumes: this.#resumes,
    };
  }

  /** After the commitment nobody gives up any more. */
  neverGiveUp(): void {
    this.#giveUpAfterMs = Number.POSITIVE_INFINITY;
  }

  /** Sends on the control channel, ahead of all bulk. */
  send(message: Message, now: number): void {
    if (this.#over) return;
    this.#attempt(() => this.#control.channel.push(message));
    this.#tend(now);
  }

  /** Sends on a bulk channel when there is credit. */
  sendBulk(message: BulkMessage, now: number): void {
    if (this.#over) return;
    this.#bulkQueue.push(message);
    this.#tend(now);
  }

  /** Takes back bulk messages that have not been sent and that `unwanted` names. */
  withdrawBulk(unwanted: (message: BulkMessage) => boolean): readonly BulkMessage[] {
    const withdrawn = this.#bulkQueue.filter((message) => unwanted(message));
    const left = this.#bulkQueue.filter((message) => !unwanted(message));
    this.#bulkQueue.splice(0, this.#bulkQueue.length, ...left);
    return withdrawn;
  }

  /** Ends the link and its connections. */
  close(now: number, reason = "the migration is over"): void {
    this.#end(CLOSE_CODE.done, reason, now);
  }

  handle(event: LinkEvent, now: number): void {
    if (this.#over) return this.#refuse(event);
    this.#now = now;
    switch (event.kind) {
      case "connected":
        this.#lane(event.channel).connected(event.connection, now);
        break;
      case "dial-failed":
        this.#lane(event.channel).dialFailed(now);
        break;
      case "attach":
        this.#attach(event.connection, event.hello, now);
        break;
      case "received":
        this.#laneOf(event.connection)?.received(event.bytes, now);
        break;
      case "disconnected":
        this.#disconnected(event.connection, event.code, now);
        break;
      case "time":
        break;
      default:
        unreachable(event);
    }
    this.#tend(now);
  }

  /** Whoever comes to a link that is over hears so, instead of waiting. */
  #refuse(event: LinkEvent): void {
    if (event.kind !== "attach" && event.kind !== "connected") return;
    const { connection } = event;
    const reason = "the link is over";
    this.#actions.push({ kind: "close", connection, code: CLOSE_CODE.linkUnknown, reason });
  }

  poll(): LinkAction | undefined {
    return this.#actions.shift();
  }

  /** When `handle({kind: "time"})` is due; undefined: not before something else happens. */
  get wakeAt(): number | undefined {
    if (this.#over) return undefined;
    const times = this.#lanes.map((lane) => this.#laneWakeAt(lane));
    if (!this.#up) times.push(this.#downSince + this.#giveUpAfterMs);
    const bulk = this.#nextBulkBytes();
    if (bulk > 0 && this.#openBulk() !== undefined) times.push(this.#pacer.sendAt(bulk));
    const known = times.filter((time) => time !== undefined && Number.isFinite(time));
    return known.length === 0 ? undefined : Math.min(...(known as number[]));
  }

  #laneWakeAt(lane: Lane): number | undefined {
    const { state } = lane;
    if (state.kind !== "apart") return lane.wakeAt();
    return this.#options.role === "dialer" ? state.since + redialDelayMs(lane.failures) : undefined;
  }

  #lane(channel: number): Lane {
    const lane = this.#lanes[channel];
    assert(lane !== undefined, `channel ${channel} is one of this link`);
    return lane;
  }

  #laneOf(connection: ConnectionId): Lane | undefined {
    return this.#lanes.find((lane) => lane.connection === connection);
  }

  #attach(connection: ConnectionId, hello: Hello, now: number): void {
    const lane = this.#lanes[hello.channel];
    if (lane !== undefined) return lane.attach(connection, hello, now);
    const reason = `channel ${hello.channel} is not of this link`;
    this.#actions.push({ kind: "close", connection, code: CLOSE_CODE.protocolError, reason });
  }

  #disconnected(connection: ConnectionId, code: number | undefined, now: number): void {
    const lane = this.#laneOf(connection);
    if (lane === undefined) return;
    lane.disconnected(connection, now);
    const error = code === undefined ? undefined : errorOfClose(code);
    if (error !== undefined) this.#fail(error, now);
  }

  /** Everything that is due. */
  #tend(now: number): void {
    this.#now = now;
    if (this.#over) return;
    for (const lane of this.#lanes) {
      lane.tend(now);
      const { state } = lane;
      const due = state.kind === "apart" && now >= state.since + redialDelayMs(lane.failures);
      if (due && this.#options.role === "dialer") {
        lane.dial(now);
        this.#actions.push({ kind: "dial", channel: lane.index });
      }
    }
    this.#noticeDown(now);
    if (this.#over) return;
    this.#sendControl(now);
    this.#sendPaced(now);
  }

  #noticeDown(now: number): void {
    if (this.#control.state.kind !== "open") {
      if (this.#up) {
        this.#up = false;
        this.#downSince = now;
        this.#sentAt.clear();
        this.#actions.push({ kind: "down" });
      }
      if (now < this.#downSince + this.#giveUpAfterMs) return;
      const seconds = Math.round((now - this.#downSince) / 1000);
      this.#fail(
        protocolError("E_LINK_LOST", `cannot reach the other agent: no link for ${seconds} s`),
        now,
      );
    }
  }

  #sendControl(now: number): void {
    for (;;) {
      const sequence = this.#control.sendNext();
      if (sequence === undefined) return;
      this.#sentAt.set(sequence, now);
    }
  }

  #nextBulkBytes(): number {
    for (const lane of this.#lanes) {
      if (lane === this.#control || lane.state.kind !== "open") continue;
      const next = lane.channel.peek();
      if (next !== undefined) return next.bytes.length;
    }
    const queued = this.#bulkQueue[0];
    return queued === undefined ? 0 : bulkBytes(queued);
  }

  #openBulk(): Lane | undefined {
    const open = this.#lanes.slice(1).filter((lane) => lane.state.kind === "open");
    return open.toSorted((a, b) => a.channel.keptBytes - b.channel.keptBytes)[0];
  }

  #sendPaced(now: number): void {
    for (;;) {
      const bytes = this.#nextBulkBytes();
      if (bytes === 0) return this.#pacer.appLimited();
      const at = this.#pacer.sendAt(bytes);
      if (at === undefined || at > now) return;
      const lane = this.#laneToRepeat() ?? this.#fill();
      if (lane === undefined) return;
      const waiting = lane.channel.peek();
      const sequence = lane.sendNext();
      if (sequence === undefined || waiting === undefined) return;
      const sent = this.#pacer.sent(waiting.bytes.length, now);
      this.#underWay.set(bulkKey(lane.index, sequence), sent);
    }
  }

  /** After a resume, what was under way goes first. */
  #laneToRepeat(): Lane | undefined {
    return this.#lanes
      .slice(1)
      .find((lane) => lane.state.kind === "open" && lane.channel.waiting > 0);
  }

  #fill(): Lane | undefined {
    const lane = this.#openBulk();
    const message = lane && this.#bulkQueue.shift();
    if (message === undefined) return undefined;
    return this.#attempt(() => lane?.channel.push(message)) ? lane : undefined;
  }

  #attempt(action: () => void): boolean {
    try {
      action();
      return true;
    } catch (error) {
      if (!isProtocolError(error)) throw error;
      this.#fail(error, this.#now);
      return false;
    }
  }

  #laneHost(): LaneHost {
    return {
      write: (connection, bytes) => {
        this.#writtenBytes += bytes.length;
        this.#actions.push({ kind: "write", connection, bytes });
      },
      close: (connection, code, reason) => {
        this.#actions.push({ kind: "close", connection, code, reason });
      },
      deliver: (message) => void this.#actions.push({ kind: "deliver", message }),
      greeted: (hello) => this.#greeted(hello),
      hello: (lane) => this.#hello(lane),
      acknowledged: (lane, sequences, now) => this.#acknowledged(lane, sequences, now),
      roundTrip: (lane, ms) => {
        if (lane === this.#control) this.#roundTrip(ms);
      },
      failed: (error) => this.#fail(error, this.#now),
    };
  }

  #hello(lane: Lane): Hello {
    const { versions, capabilities, agent, link } = this.#options;
    return {
      kind: "hello",
      magic: "dejavm",
      versions: { ...versions },
      capabilities: [...capabilities],
      agent,
      link,
      channel: lane.index,
      next: lane.channel.nextIn,
      known: this.#peer !== undefined,
    };
  }

  #greeted(hello: Hello): void {
    const { link, versions, capabilities } = this.#options;
    if (hello.link !== link) {
      throw protocolError("E_PROTOCOL_STATE", `cannot take a hello of link ${hello.link}`);
    }
    const version = commonVersion(versions, hello.versions);
    const { role } = this.#options;
    const forgotten = role === "dialer" ? this.#peer && !hello.known : hello.known && !this.#peer;
    if (forgotten === true) {
      throw protocolError("E_LINK_UNKNOWN", "cannot resume: one agent has forgotten the link");
    }
    const peer: Peer = {
      agent: hello.agent,
      version,
      capabilities: capabilities.filter((name) => hello.capabilities.includes(name)),
    };
    this.#peer ??= peer;
    if (this.#greetedChannels.has(hello.channel)) this.#resumes++;
    this.#greetedChannels.add(hello.channel);
    if (hello.channel !== 0) return this.#forgetUnderWay(hello.channel);
    this.#up = true;
    this.#actions.push({ kind: "up", peer });
  }

  /** What was under way on the old connection is no longer. */
  #forgetUnderWay(channel: number): void {
    for (const [key, sent] of this.#underWay) {
      if (Math.floor(key / SEQUENCE_RANGE) !== channel) continue;
      this.#pacer.lost(sent);
      this.#underWay.delete(key);
    }
  }

  #acknowledged(lane: Lane, sequences: readonly number[], now: number): void {
    for (const sequence of sequences) {
      if (lane === this.#control) {
        const sentAt = this.#sentAt.get(sequence);
        this.#sentAt.delete(sequence);
        if (sentAt !== undefined) this.#roundTrip(now - sentAt);
        continue;
      }
      const key = bulkKey(lane.index, sequence);
      const sent = this.#underWay.get(key);
      this.#underWay.delete(key);
      if (sent !== undefined) this.#pacer.acknowledged(sent, now);
    }
  }

  #roundTrip(ms: number): void {
    this.#rtts.push(ms);
    if (this.#rtts.length > RTT_SAMPLES) this.#rtts.shift();
  }

  #fail(error: ProtocolError, now: number): void {
    if (this.#over) return;
    this.#end(closeCodeOf(error.code), error.message, now);
    this.#actions.push({ kind: "lost", error });
  }

  #end(code: CloseCode, reason: string, now: number): void {
    if (this.#over) return;
    this.#over = true;
    this.#up = false;
    this.#bulkQueue.length = 0;
    for (const lane of this.#lanes) lane.drop(code, reason, now);
  }
}

const SEQUENCE_RANGE = 2 ** 32;

function bulkKey(channel: number, sequence: number): number {
  return channel * SEQUENCE_RANGE + sequence;
}
