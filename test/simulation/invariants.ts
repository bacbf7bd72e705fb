/**
 * What must hold in a simulated life, looked at after every millisecond and at the end. With a
 * hostile peer it must hold for the honest host; what the other one says of itself is nothing.
 */
import type { MigrationReport } from "@dejavm/source-agent";
import type { TargetOutcome } from "@dejavm/target-agent";
import { digestOf, type ModelOutput, type ModelState } from "./model.ts";
import type { SimHost } from "./sim-host.ts";
import { MAX_HELD_BYTES } from "./sim-types.ts";

/** Something that must never happen did. */
class Violation extends Error {
  override readonly name = "Violation";
}

/** What has been seen outside. */
interface Seen {
  /** Inputs, by their echoes. */
  readonly acknowledged: Set<number>;
  /** Values of signs of life, by place. */
  readonly signs: Map<number, number>;
  lastPosition: number;
}

/** See the head of this file. Everything here throws `Violation`. */
export class Invariants {
  /** Whether a host does harm by now. */
  readonly #isHostile: (host: SimHost) => boolean;
  /** Whether one that does has said that no machine has come to it. */
  readonly #hasDenied: (host: SimHost) => boolean;
  #seen = nothingSeen();
  /** For each host, what its machine was given and has not echoed: as often as it was given. */
  readonly #given = new Map<SimHost, number[]>();
  /** Inputs that a hostile peer passed on: it may say one many times, and each is an input. */
  readonly #passedOnByHostile = new Set<number>();
  /** The machine that stood still last: where, its digest, and what had been seen until then. */
  #frozen: { readonly host: SimHost; readonly digest: string; readonly seen: Seen } | undefined;
  /** The host that did no harm and had the live machine last. */
  #ranAt: SimHost | undefined;

  constructor(
    isHostile: (host: SimHost) => boolean,
    hasDenied: (host: SimHost) => boolean = () => false,
  ) {
    this.#isHostile = isHostile;
    this.#hasDenied = hasDenied;
  }

  /** After every millisecond. */
  step(hosts: readonly SimHost[], now: number): void {
    const honest = hosts.filter((host) => !this.#isHostile(host));
    const live = honest.filter((host) => host.isLive);
    if (live.length > 1) throw new Violation(`two live machines at ${now} ms`);
    for (const { name, record } of live) {
      if (record === "live" || record === "offering") continue;
      throw new Violation(`a machine runs at ${name}, whose record says ${record}`);
    }
    for (const host of live) this.#runs(host);
    for (const { name, heldBytes } of honest) {
      if (heldBytes > MAX_HELD_BYTES) throw new Violation(`${name} holds ${heldBytes} bytes`);
    }
  }

  /**
   * A host whose peer says that it did not get the machine goes on with its own, from F: it has
   * only the peer's word. Where that peer had it, and turned hostile and lies, what was seen of the
   * machine there is lost with that host; nothing else is, and without the lie nothing at all.
   */
  #runs(host: SimHost): void {
    const before = this.#ranAt;
    this.#ranAt = host;
    if (before === undefined || before === host || !this.#isHostile(before)) return;
    if (!this.#hasDenied(before) || !hasRetracted(host) || this.#frozen?.host !== host) return;
    this.#seen = copyOf(this.#frozen.seen);
  }

  /** The machine at a host gets an input from outside. */
  given(host: SimHost, input: number): void {
    this.#givenTo(host).push(input);
  }

  /** The machine that came to a host, and runs, gets one that its source passed on. */
  passedOn(host: SimHost, input: number, isFromHostile: boolean): void {
    this.#givenTo(host).push(input);
    if (isFromHostile) this.#passedOnByHostile.add(input);
  }

  outputs(host: SimHost, outputs: readonly ModelOutput[], now: number): void {
    if (this.#isHostile(host)) return;
    if (host.vm?.mode !== "live" || !host.isUp) {
      throw new Violation(`output of a machine that is not live, at ${now} ms`);
    }
    for (const output of outputs) {
      const { position, echo } = output;
      if (echo === undefined) this.#signOfLife(output);
      else this.#echo(host, echo);
      if (position < this.#seen.lastPosition) {
        throw new Violation(`output at ${position} out of order`);
      }
      this.#seen.lastPosition = position;
    }
  }

  #signOfLife({ position, value }: ModelOutput): void {
    const seen = this.#seen.signs.get(position);
    if (seen !== undefined) {
      throw new Violation(`output at ${position} twice (${value}, ${seen})`);
    }
    this.#seen.signs.set(position, value);
  }

  /**
   * The outside gives each input once, so none is taken twice, whichever machines took it. What a
   * hostile peer passes on is an input each time it says so: nobody can tell it from a person who
   * presses a key again. So that is taken as often as it came, and no more often.
   */
  #echo(host: SimHost, input: number): void {
    if (this.#seen.acknowledged.has(input) && !this.#passedOnByHostile.has(input)) {
      throw new Violation(`input ${input} was taken twice`);
    }
    const given = this.#givenTo(host);
    const at = given.indexOf(input);
    if (at < 0) throw new Violation(`input ${input} was taken more often than it was given`);
    given.splice(at, 1);
    this.#seen.acknowledged.add(input);
  }

  #givenTo(host: SimHost): number[] {
    const given = this.#given.get(host) ?? [];
    this.#given.set(host, given);
    return given;
  }

  /** A machine stands still at F. */
  frozen(host: SimHost, state: ModelState): void {
    if (this.#isHostile(host)) return;
    this.#frozen = { host, digest: digestOf(state), seen: copyOf(this.#seen) };
  }

  /** A machine that has come runs. */
  cameLive(host: SimHost, state: ModelState, isFromHostile: boolean): void {
    if (this.#isHostile(host)) return;
    this.#given.delete(host);
    if (isFromHostile) return this.#cameFromHostile(host);
    if (digestOf(state) === this.#frozen?.digest) return;
    throw new Violation("the machine that came is not the one that left");
  }

  /**
   * A host may have offered its machine and heard that the peer has it: then that peer answers for
   * it, and what it sends back is another machine. One that was not handed over is still here.
   */
  #cameFromHostile({ name, store }: SimHost): void {
    const before = store.ownership.slice(0, -1).map(({ state }) => state);
    const since = before.slice(before.lastIndexOf("live"));
    if (since[0] === "live" && !since.includes("moved")) {
      throw new Violation(`${name} gave up its machine for one of a hostile peer`);
    }
    this.#seen = nothingSeen();
  }

  /** A migration from there is over. */
  sent(host: SimHost, { outcome }: MigrationReport): void {
    if (this.#isHostile(host)) return;
    if (outcome.kind === "stayed") checkReason(outcome, outcome.phase);
  }

  /** A migration to there is over. */
  received(host: SimHost, outcome: TargetOutcome): void {
    if (this.#isHostile(host) || outcome.kind === "live") return;
    checkReason(outcome.reason, outcome.phase);
  }

  /** Once everything has healed, and a person has settled what was in doubt. */
  end(hosts: readonly SimHost[], story: string): void {
    const honest = hosts.filter((host) => !this.#isHostile(host));
    const live = honest.filter((host) => host.isLive);
    const stands = honest.map((host) => host.describe()).join("\n");
    const isAlone = honest.length < hosts.length;
    const least = isAlone && !honest.some((host) => isOwner(host)) ? 0 : 1;
    if (live.length < least || live.length > 1) {
      throw new Violation(`${live.length} live machines in the end: ${story}\n${stands}`);
    }
    const moving = honest.find(({ source }) => source !== undefined);
    if (moving !== undefined) {
      throw new Violation(`a migration from ${moving.name} does not end: ${story}\n${stands}`);
    }
    const [owner] = live;
    if (owner === undefined) return;
    const inputs = new Set(owner.vm?.state.inputs);
    const lost = [...this.#seen.acknowledged].filter((input) => !inputs.has(input));
    if (lost.length > 0) throw new Violation(`acknowledged inputs lost: ${lost.join(" ")}`);
  }
}

/** Whether the machine has lived there and was not handed over since, by its records. */
function isOwner({ store }: SimHost): boolean {
  const states = store.ownership.map(({ state }) => state);
  const since = states.slice(states.lastIndexOf("live"));
  return since[0] === "live" && !(since[1] === "offering" && since.includes("moved"));
}

/** Whether the last that a host has recorded is that it keeps the machine that it had offered. */
function hasRetracted({ store }: SimHost): boolean {
  const [offered, last] = store.ownership.slice(-2);
  if (offered?.state !== "offering" || last?.state !== "live") return false;
  return last.epoch === offered.epoch + 1;
}

function nothingSeen(): Seen {
  return { acknowledged: new Set(), signs: new Map(), lastPosition: 0 };
}

function copyOf({ acknowledged, signs, lastPosition }: Seen): Seen {
  return { acknowledged: new Set(acknowledged), signs: new Map(signs), lastPosition };
}

function checkReason(
  { code, message }: { readonly code: string; readonly message: string },
  phase: string,
): void {
  if (/^E_[A-Z0-9_]+$/u.test(code) && message !== "" && phase !== "") return;
  throw new Violation(`a migration ended without saying why: ${code} ${phase} ${message}`);
}
