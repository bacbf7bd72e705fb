/** What the invariants let a hostile peer do to what is seen, and what they find nevertheless. */
import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { Invariants } from "./invariants.ts";
import { newModel } from "./model.ts";
import { SimHost } from "./sim-host.ts";
import { SimNetwork } from "./sim-network.ts";
import type { SimConditions, SimWorld } from "./sim-types.ts";

const CONDITIONS: SimConditions = {
  replaySpeed: 10,
  wrongAt: undefined,
  writeMs: 0,
  fullUntil: 0,
  ifNotConverging: "slow",
  unpackMs: 0,
};
const nothing = (): void => undefined;

/** Two hosts, and a machine that runs at `a`; `b` may turn hostile. */
class Pair {
  isHostile = false;
  hasDenied = false;
  readonly invariants = new Invariants(
    (host) => this.isHostile && host === this.b,
    () => this.hasDenied,
  );
  readonly #world: SimWorld = {
    network: new SimNetwork(new Prng(1), 2),
    prng: new Prng(1),
    defect: undefined,
    outputs: nothing,
    frozen: (host, state) => this.invariants.frozen(host, state),
    cameLive: nothing,
    passedOn: nothing,
    received: nothing,
    finished: nothing,
    failPoint: nothing,
    step: nothing,
  };
  readonly a = new SimHost("a", "b", this.#world, CONDITIONS);
  readonly b = new SimHost("b", "a", this.#world, CONDITIONS);

  constructor() {
    this.a.powerOn();
    this.#step();
  }

  /** Input by input: the outside gives it, and sees that it was taken. */
  takes(host: SimHost, ...inputs: readonly number[]): this {
    for (const input of inputs) this.invariants.given(host, input);
    return this.echoes(host, ...inputs);
  }

  /** At places that are as high as the inputs' numbers. */
  echoes(host: SimHost, ...inputs: readonly number[]): this {
    const outputs = inputs.map((input) => ({ position: input, echo: input, value: 0 }));
    this.invariants.outputs(host, outputs, 1);
    return this;
  }

  /** The machine stands still at `a`, and `b` has it. */
  handOver(): this {
    this.a.own("offering", 2);
    this.a.vm?.request({ kind: "freeze", id: 1 });
    this.b.powerOn();
    this.b.own("live", 2);
    this.#step();
    return this;
  }

  turn(hasDenied: boolean): this {
    this.isHostile = true;
    this.hasDenied = hasDenied;
    return this;
  }

  /** `a` goes on with its machine. */
  goOn(record: "live" | "offering"): this {
    if (record === "live") this.a.own("live", 3);
    this.a.vm?.request({ kind: "unfreeze", id: 2 });
    this.#step();
    return this;
  }

  #step(): void {
    this.invariants.step([this.a, this.b], 1);
  }
}

describe("inputs that a source passes on", () => {
  const passedOn = (isFromHostile: boolean): Pair => {
    const pair = new Pair();
    if (isFromHostile) pair.turn(false);
    else pair.invariants.frozen(pair.b, newModel());
    pair.invariants.cameLive(pair.a, newModel(), isFromHostile);
    for (const input of [5, 5]) pair.invariants.passedOn(pair.a, input, isFromHostile);
    return pair;
  };

  test("[SI3] those of a hostile one are taken as often as it says them", () => {
    const pair = passedOn(true);
    expect(() => pair.echoes(pair.a, 5, 5)).not.toThrow();
  });

  test("[SI2] more often is found", () => {
    const pair = passedOn(true);
    expect(() => pair.echoes(pair.a, 5, 5, 5)).toThrow(/more often than it was given/u);
  });

  test("[SI2] from an honest one once is all", () => {
    const pair = passedOn(false);
    expect(() => pair.echoes(pair.a, 5, 5)).toThrow(/taken twice/u);
  });

  test("[SI2] another one's input does not count", () => {
    const pair = passedOn(true);
    pair.invariants.given(pair.b, 6);
    expect(() => pair.echoes(pair.a, 6)).toThrow(/more often than it was given/u);
  });
});

describe("a host that goes on while its peer, that had the machine, is hostile", () => {
  const seenAtBoth = (): Pair => {
    const pair = new Pair();
    return pair.takes(pair.a, 1, 2).handOver().takes(pair.b, 3, 4);
  };

  test("[SI3] told that the peer has none, it goes on from where it stood still", () => {
    const pair = seenAtBoth().turn(true).goOn("live");
    expect(() => pair.takes(pair.a, 3, 4)).not.toThrow();
  });

  test("[SI2] what was seen of its own machine stays seen", () => {
    const pair = seenAtBoth().turn(true).goOn("live");
    expect(() => pair.takes(pair.a, 2)).toThrow(/taken twice/u);
    expect(() => pair.takes(pair.a, 0)).toThrow(/out of order/u);
    expect(() => pair.invariants.end([pair.a, pair.b], "")).toThrow(/inputs lost: 1 2 /u);
  });

  test("[SI2] not told, or without a record, it may not", () => {
    const untold = seenAtBoth().turn(false).goOn("live");
    expect(() => untold.takes(untold.a, 3)).toThrow(/taken twice/u);
    const unrecorded = seenAtBoth().turn(true).goOn("offering");
    expect(() => unrecorded.takes(unrecorded.a, 3)).toThrow(/taken twice/u);
  });

  test("[SI2] nor beside an honest peer, whatever it was told", () => {
    const pair = seenAtBoth();
    pair.hasDenied = true;
    expect(() => pair.goOn("live")).toThrow(/two live machines/u);
    pair.b.crash();
    expect(() => pair.takes(pair.a, 3)).toThrow(/taken twice/u);
  });
});
