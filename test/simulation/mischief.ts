/**
 * A hostile peer: a host that follows the protocol until a moment from the seed, and then does harm
 * to whatever it sends. It gets as deep into a migration as an honest one before it lies.
 */
import type { Prng } from "@dejavm/base";
import { type BulkMessage, encodeFrame, type Message } from "@dejavm/protocol";

/** What it does. */
export const MISCHIEF = [
  /** Bytes that are no frames, or frames with some bits changed. */
  "garbage",
  /** Everything many times: messages with numbers of their own, and whole frames. */
  "flood",
  /** Connected and alive, but no message leaves. */
  "stall",
  /** Nothing leaves at all, not even keep-alives. */
  "silence",
  /** A field of a message is changed: numbers, places, digests, contents. */
  "lies",
  /** It claims digests that are not so: matched ones, the one at F. */
  "digests",
  /** What it said before, again. */
  "replay",
  /** Messages that nobody asked for: that it owns the machine, has everything, refuses. */
  "claims",
  /** Offers of a machine that is not its own, with epochs from before and after. */
  "offers",
] as const;
/** One of `MISCHIEF`. */
export type MischiefKind = (typeof MISCHIEF)[number];

/** Copies of a message in a flood, and messages that are flooded. */
const FLOOD_COPIES = 50;
const MAX_FLOODED = 30;
/** Messages that are remembered to be sent again. */
const MEMORY = 200;

/** See the head of this file. */
export class Mischief {
  readonly kind: MischiefKind;
  /** Whether it has begun: until then everything is as from an honest host. */
  isOn = false;
  /** Whether it has said since that no machine has come to it. */
  hasDenied = false;
  readonly #prng: Prng;
  readonly #said: Message[] = [];
  #flooded = 0;
  /** A flood of anything ends soon; one of contents may go on until the receiver is full. */
  readonly #onlyContents: boolean;

  constructor(kind: MischiefKind, prng: Prng) {
    this.kind = kind;
    this.#prng = prng;
    this.#onlyContents = prng.oneIn(2);
  }

  /** What leaves instead of a message. */
  messages(message: Message): readonly Message[] {
    if (this.#said.length < MEMORY) this.#said.push(message);
    if (!this.isOn) return [message];
    const messages = this.#harmful(message);
    this.hasDenied ||= messages.some(isDenial);
    return messages;
  }

  #harmful(message: Message): readonly Message[] {
    switch (this.kind) {
      case "stall":
        return [];
      case "flood":
        if (this.#onlyContents && !isContents(message)) return [message];
        if (this.#flooded++ > MAX_FLOODED) return [message];
        return [message, ...Array.from({ length: FLOOD_COPIES }, () => flooding(message))];
      case "lies":
        return this.#prng.oneIn(6) ? sendable(this.#lie(message)) : [message];
      case "digests":
        return [this.#withWrongDigests(message)];
      case "replay":
        return this.#prng.oneIn(4) ? [message, this.#prng.pick(this.#said)] : [message];
      case "claims":
        return this.#prng.oneIn(8) ? [...sendable(this.#claim()), message] : [message];
      default:
        return [message];
    }
  }

  /** What leaves instead of a frame. */
  frames(bytes: Uint8Array): readonly Uint8Array[] {
    if (!this.isOn) return [bytes];
    if (this.kind === "silence") return [];
    if (this.kind === "garbage" && this.#prng.oneIn(10)) return [this.#garbage(bytes)];
    const repeats = this.kind === "flood" && this.#prng.oneIn(10);
    return repeats ? Array.from({ length: FLOOD_COPIES }, () => bytes) : [bytes];
  }

  #garbage(bytes: Uint8Array): Uint8Array {
    const prng = this.#prng;
    if (prng.oneIn(2)) return Uint8Array.from({ length: prng.below(300) }, () => prng.below(256));
    const copy = bytes.slice(0, prng.oneIn(3) ? prng.below(bytes.length + 1) : bytes.length);
    if (copy.length > 0) copy[prng.below(copy.length)] = prng.below(256);
    return copy;
  }

  #withWrongDigests(message: Message): Message {
    if (message.kind === "commit") return { ...message, digest: "f".repeat(32) };
    if (message.kind !== "target-progress") return message;
    return { ...message, digestsMatched: 7, matchedPosition: message.position };
  }

  #claim(): Message {
    const prng = this.#prng;
    const epoch = prng.below(5);
    const reason = { code: "E_LIE", message: "a lie" };
    const all = Array.from({ length: 48 }, (_, page) => page);
    const times = { replayedMs: 0, comparedMs: 0, durableMs: 0, runningMs: 0 };
    const place = { position: BigInt(prng.below(99_999)), ticks: BigInt(prng.below(99_999)) };
    const state = prng.pick(["live-here", "not-here", "moved-on"] as const);
    const checkpoint = prng.below(4);
    const trace = { sequence: prng.below(50), chain: new Uint8Array(32), ...place };
    return prng.pick<Message>([
      { kind: "live", epoch, ...times },
      { kind: "moved", epoch },
      { kind: "owner", lineage: "lineage", epoch, state },
      { kind: "ask-owner", migration: "m", lineage: "lineage", epoch },
      { kind: "refused", phase: "lie", reason },
      { kind: "cancel", phase: "lie", reason },
      { kind: "leapfrog", checkpoint, taken: true, position: place.position },
      { kind: "want", checkpoint, pages: all, chunks: [[0, 1]] },
      { kind: "unknown-reference", checkpoint, pages: all, chunks: [[0, 1]] },
      { kind: "late-input", input: { kind: "console", port: "uart", bytes: new Uint8Array(4) } },
      { kind: "commit", epoch, digest: "0".repeat(32), trace, ...place },
      { kind: "inventory", prefixes: new Uint8Array(8 * 4) },
      { kind: "zero-pages", checkpoint, pages: all },
    ]);
  }

  /** One field somewhere in it is another one. */
  #lie(message: Message): Message {
    const { kind, ...fields } = message;
    return { kind, ...(this.#changed(fields) as object) } as Message;
  }

  #changed(value: unknown): unknown {
    const prng = this.#prng;
    if (typeof value === "number") {
      return prng.pick([0, value + 1, Math.max(0, value - 1), 2 ** 31, prng.below(50)]);
    }
    if (typeof value === "bigint") {
      return prng.pick([0n, value + 1n, value === 0n ? 1n : value - 1n, 2n ** 63n]);
    }
    if (typeof value === "boolean") return !value;
    if (typeof value === "string") return prng.pick(["x", "0".repeat(32), "E_LIE", value]);
    if (value instanceof Uint8Array) return this.#garbage(value);
    if (Array.isArray(value)) return this.#changedList(value);
    if (typeof value !== "object" || value === null) return value;
    const entries: [string, unknown][] = Object.entries(value);
    if (entries.length === 0) return value;
    const [name, field] = prng.pick(entries);
    return { ...value, [name]: this.#changed(field) };
  }

  #changedList(list: readonly unknown[]): unknown {
    const at = this.#prng.below(list.length + 1);
    if (this.#prng.oneIn(3) || list[at] === undefined) return [...list, ...list.slice(0, at)];
    return this.#prng.oneIn(2) ? list.slice(0, at) : list.with(at, this.#changed(list[at]));
  }
}

/** Contents that nobody has announced have to be kept, or refused. */
function flooding(message: Message): Message {
  return isContents(message) ? { ...message, checkpoint: message.checkpoint + 1 } : message;
}

/** What a source goes on with its machine for. */
function isDenial(message: Message): boolean {
  return message.kind === "refused" || (message.kind === "owner" && message.state === "not-here");
}

function isContents(message: Message): message is Extract<BulkMessage, { pages: unknown }> {
  return message.kind === "page-group" || message.kind === "zero-pages";
}

/** A hostile peer has encoders, too, but not for everything. */
function sendable(message: Message): readonly Message[] {
  try {
    encodeFrame({ kind: "message", sequence: 0, message });
    return [message];
  } catch {
    return [];
  }
}
