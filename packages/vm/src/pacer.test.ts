import { Prng } from "@dejavm/base";
import { position, type Ticks, ticks } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import {
  DRIFT_LIMIT_TICKS,
  FreePacer,
  LivePacer,
  MAX_SLICE_POSITIONS,
  type Observation,
  type Pacer,
} from "./pacer.ts";

const MS = 10_000;
const SECOND = 1000 * MS;

interface Clock {
  readonly rate: number;
  readonly step: number;
}

/** A guest that never idles on a host of given speed, on an invented clock. */
class BusyGuest {
  now = 12_345 * MS;
  positions = 0;
  ticks = 777;
  /** Positions per tick of host time. */
  speed = 40;
  rate = 1 / 7;
  slept = 0;
  readonly clocks: Clock[] = [];
  readonly #pacer: Pacer;
  readonly #start = { now: 12_345 * MS, ticks: 777 };

  constructor(makePacer: (start: { now: number; ticks: Ticks }) => Pacer) {
    this.#pacer = makePacer({ now: this.now, ticks: ticks(777n) });
  }

  /** How far virtual time is ahead of the wall. */
  get drift(): number {
    return this.ticks - this.#start.ticks - (this.now - this.#start.now);
  }

  seen(): Observation {
    return {
      now: this.now,
      position: position(BigInt(this.positions)),
      ticks: ticks(BigInt(Math.floor(this.ticks))),
      idle: undefined,
    };
  }

  /** Runs for a span of host time and gives the largest drift either way. */
  run(span: number): number {
    const end = this.now + span;
    let worst = 0;
    while (this.now < end) {
      this.turn();
      worst = Math.max(worst, Math.abs(this.drift));
    }
    return worst;
  }

  turn(): void {
    const step = this.#pacer.next(this.seen());
    if (step.kind === "clock") {
      this.clocks.push({ rate: Number(step.rate) / 2 ** 32, step: Number(step.step) });
      expect(step.step).toBeGreaterThanOrEqual(0n);
      this.rate = Number(step.rate) / 2 ** 32;
      this.ticks += Number(step.step);
      return;
    }
    if (step.kind === "sleep") {
      this.now = Math.max(this.now, step.wakeAt ?? Infinity);
      this.slept++;
      return;
    }
    const count = Number(step.until) - this.positions;
    expect(count).toBeGreaterThan(0);
    expect(count).toBeLessThanOrEqual(MAX_SLICE_POSITIONS);
    this.positions += count;
    this.ticks += count * this.rate;
    this.now += count / this.speed;
  }
}

const live = (start: { now: number; ticks: Ticks }) => new LivePacer(start);

function observe(now: number, shown: bigint, deadline: bigint | "never" | "busy"): Observation {
  const idle = { deadline: typeof deadline === "bigint" ? ticks(deadline) : undefined };
  return {
    now,
    position: position(5n),
    ticks: ticks(shown),
    idle: deadline === "busy" ? undefined : idle,
  };
}

describe("live pacing of a busy guest", () => {
  test.each([0.1, 2, 40, 500])(
    "virtual time follows the wall at %i positions per tick",
    (speed) => {
      const guest = new BusyGuest(live);
      guest.speed = speed;
      guest.run(10 * SECOND);
      guest.clocks.length = 0;
      expect(guest.run(5 * SECOND)).toBeLessThan(2 * DRIFT_LIMIT_TICKS);
      expect(guest.clocks.length).toBeLessThan(10);
      expect(guest.clocks.every(({ step }) => step === 0)).toBe(true);
      expect(guest.slept).toBe(0);
    },
  );

  test("on a host whose speed jumps about, virtual time is never far ahead of the wall", () => {
    const random = new Prng(1);
    const guest = new BusyGuest(live);
    guest.run(SECOND);
    let ahead = 0;
    for (let i = 0; i < 2000; i++) {
      guest.speed = random.below(4) === 0 ? 400 : 20;
      guest.run((1 + random.below(20)) * MS);
      ahead = Math.max(ahead, guest.drift);
    }
    expect(guest.slept).toBeGreaterThan(0);
    expect(ahead).toBeLessThan(25 * MS);
  });

  test("a change of speed is followed, without a step", () => {
    const guest = new BusyGuest(live);
    guest.run(SECOND);
    for (const speed of [8, 200, 40, 3, 60]) {
      guest.speed = speed;
      expect(guest.run(SECOND)).toBeLessThan(80 * MS);
      expect(Math.abs(guest.drift)).toBeLessThan(2 * DRIFT_LIMIT_TICKS);
    }
    expect(guest.clocks.every(({ step }) => step === 0)).toBe(true);
    expect(guest.clocks.length).toBeLessThan(200);
  });

  test("a pause of half a second is made good at no more than 10 % above the wall", () => {
    const guest = new BusyGuest(live);
    guest.run(SECOND);
    guest.now += 500 * MS;
    guest.run(200 * MS);
    for (let i = 0; i < 20; i++) {
      const before = { now: guest.now, ticks: guest.ticks };
      guest.run(100 * MS);
      const speed = (guest.ticks - before.ticks) / (guest.now - before.now);
      expect(speed).toBeGreaterThan(1.03);
      expect(speed).toBeLessThan(1.17);
    }
    guest.run(4 * SECOND);
    expect(Math.abs(guest.drift)).toBeLessThan(2 * DRIFT_LIMIT_TICKS);
    expect(guest.clocks.every(({ step }) => step === 0)).toBe(true);
  });

  test("a pause above one second is one step forward", () => {
    const guest = new BusyGuest(live);
    guest.run(SECOND);
    guest.now += 3 * SECOND;
    guest.run(SECOND);
    expect(Math.abs(guest.drift)).toBeLessThan(2 * DRIFT_LIMIT_TICKS);
    const steps = guest.clocks.filter(({ step }) => step > 0);
    expect(steps).toHaveLength(1);
    expect(Math.abs((steps[0]?.step ?? 0) - 3 * SECOND)).toBeLessThan(3 * DRIFT_LIMIT_TICKS);
  });

  test("a slice is about one millisecond of virtual time", () => {
    const guest = new BusyGuest(live);
    guest.run(SECOND);
    const before = guest.ticks;
    guest.turn();
    expect(guest.ticks - before).toBeGreaterThan(0.8 * MS);
    expect(guest.ticks - before).toBeLessThan(1.2 * MS);
  });
});

describe("live pacing of an idle guest", () => {
  test("sleeps until its deadline, then may skip to it", () => {
    const pacer = new LivePacer({ now: 0, ticks: ticks(0n) });
    const asleep = pacer.next(observe(2 * MS, 0n, BigInt(30 * MS)));
    expect(asleep).toEqual({ kind: "sleep", wakeAt: 30 * MS });
    const awake = pacer.next(observe(30.5 * MS, 0n, BigInt(30 * MS)));
    expect(awake).toMatchObject({ kind: "run", skipIdleUntil: BigInt(30.5 * MS) });
  });

  test("sleeps for ever without a deadline, and no step comes of it", () => {
    const pacer = new LivePacer({ now: 0, ticks: ticks(0n) });
    expect(pacer.next(observe(MS, 0n, "never"))).toEqual({ kind: "sleep", wakeAt: undefined });
    expect(pacer.next(observe(3600 * SECOND, 0n, "never"))).toMatchObject({ kind: "sleep" });
  });

  test("an input happens at wall time, but not after the deadline and not before now", () => {
    const pacer = new LivePacer({ now: 0, ticks: ticks(0n) });
    expect(pacer.inputTicks(observe(7 * MS, 0n, "never"))).toBe(BigInt(7 * MS));
    expect(pacer.inputTicks(observe(7 * MS, 0n, 20n))).toBe(20n);
    expect(pacer.inputTicks(observe(7 * MS, BigInt(9 * MS), "never"))).toBe(BigInt(9 * MS));
  });

  test("waking half a second late slews: virtual time is not thrown forward", () => {
    const pacer = new LivePacer({ now: 0, ticks: ticks(0n) });
    const late = pacer.next(observe(600 * MS, 0n, BigInt(100 * MS)));
    expect(late).toMatchObject({ kind: "run", skipIdleUntil: BigInt(100 * MS) });
    const later = pacer.next(observe(700 * MS, BigInt(100 * MS), BigInt(208 * MS)));
    expect(later).toMatchObject({ kind: "run", skipIdleUntil: BigInt(210 * MS) });
    const asleep = pacer.next(observe(701 * MS, BigInt(210 * MS), BigInt(430 * MS)));
    expect(asleep).toMatchObject({ kind: "sleep" });
    expect(asleep.kind === "sleep" && asleep.wakeAt).toBeCloseTo(900 * MS, 3);
  });

  test("waking more than a second late is one step forward", () => {
    const pacer = new LivePacer({ now: 0, ticks: ticks(0n) });
    const step = pacer.next(observe(5 * SECOND, 0n, BigInt(SECOND)));
    expect(step).toMatchObject({ kind: "clock", step: BigInt(5 * SECOND) });
    expect(pacer.next(observe(5 * SECOND, BigInt(5 * SECOND), "busy"))).toMatchObject({
      kind: "run",
    });
  });
});

describe("free pacing", () => {
  test("gives no clock events, skips idle time, and never asks the wall", () => {
    const pacer = new FreePacer();
    const a = pacer.next(observe(1, 5n, "busy"));
    expect(a).toEqual(pacer.next(observe(1e9, 5n, "busy")));
    expect(pacer.next(observe(1, 5n, 1_000_000n))).toEqual(a);
    expect(pacer.next(observe(1, 5n, "never"))).toEqual({ kind: "sleep", wakeAt: undefined });
    expect(pacer.inputTicks(observe(1e9, 5n, "never"))).toBe(5n);
  });
});
