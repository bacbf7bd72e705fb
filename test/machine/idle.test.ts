/** A place at which the hart waits is reached in several ways, and is one state in all of them. */
import { type Place, position, type Ticks, ticks } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { SCRATCH_PAGE, sleeperProgram } from "./programs/sleeper.ts";
import { Guest } from "./support/guest.ts";

const PROGRAM = sleeperProgram();
const FOR_EVER = ticks((1n << 63n) - 1n);
const KEYS = { kind: "console", port: "uart", bytes: Uint8Array.of(0x61, 0x62) } as const;

interface Wait {
  readonly place: Place;
  readonly deadline: Ticks;
}

const MSTATUS_MIE = 8n;

/** The first waits with interrupts switched off: they end without a trap. */
function firstWaits(count: number): Wait[] {
  const { machine } = new Guest(PROGRAM);
  const waits: Wait[] = [];
  while (waits.length < count) {
    const stop = machine.run(position(1n << 40n), machine.ticks);
    if (stop.kind !== "idle" || stop.deadline === undefined) throw new Error("it waits");
    const { mstatus } = machine.save().hart as { readonly mstatus: bigint };
    if ((mstatus & MSTATUS_MIE) === 0n)
      waits.push({ place: machine.place, deadline: stop.deadline });
    machine.passIdle(stop.deadline);
  }
  return waits;
}

function waiting({ place }: Wait): Guest {
  const guest = new Guest(PROGRAM);
  guest.machine.run(place.position, FOR_EVER);
  return guest;
}

/** Woken by itself, and stopped before it could go on. */
function woken(wait: Wait): Guest {
  const guest = waiting(wait);
  guest.remove(SCRATCH_PAGE);
  const stop = guest.machine.run(position(wait.place.position + 100n), FOR_EVER);
  expect(stop).toEqual({ kind: "missing-page", pages: [SCRATCH_PAGE] });
  guest.putBack();
  expect(guest.machine.place).toEqual({ ...wait.place, idleTicks: wait.deadline });
  return guest;
}

function passed(wait: Wait, until: Ticks): Guest {
  const guest = waiting(wait);
  guest.machine.passIdle(until);
  return guest;
}

describe.each(firstWaits(2))("[TR8] waiting at $place.position until $deadline", (wait) => {
  test("time that passes to the end wakes the hart as the run does", () => {
    expect(passed(wait, wait.deadline).fingerprint()).toEqual(woken(wait).fingerprint());
    // It does not wait beyond.
    expect(passed(wait, FOR_EVER).fingerprint()).toEqual(woken(wait).fingerprint());
  });

  test("an input at the end is the same before and after the hart woke", () => {
    const before = waiting(wait);
    before.machine.input(KEYS, wait.deadline);
    const after = woken(wait);
    after.machine.input(KEYS);
    expect(before.fingerprint()).toEqual(after.fingerprint());
    const between = passed(wait, wait.deadline);
    between.machine.input(KEYS);
    expect(between.fingerprint()).toEqual(after.fingerprint());
    for (const guest of [before, after, between]) guest.runTo(PROGRAM.length);
    expect(before.fingerprint()).toEqual(after.fingerprint());
    expect(between.fingerprint()).toEqual(after.fingerprint());
  });

  test("an input on the way is another state, and again one however time got there", () => {
    const at = ticks(wait.deadline - 1n);
    const direct = waiting(wait);
    direct.machine.input(KEYS, at);
    const stepped = waiting(wait);
    for (let t = stepped.machine.ticks; t <= at; t = ticks(t + 1n)) stepped.machine.passIdle(t);
    stepped.machine.input(KEYS);
    expect(stepped.fingerprint()).toEqual(direct.fingerprint());
    const late = passed(wait, wait.deadline);
    late.machine.input(KEYS);
    expect(late.fingerprint().digest).not.toBe(direct.fingerprint().digest);
  });

  test("a wait that is over before it began", () => {
    const until = (at: bigint): Guest => {
      const guest = new Guest(PROGRAM);
      guest.machine.run(position(at - 1n), FOR_EVER);
      guest.machine.input({ kind: "clock", rate: 1n << 29n, step: 100n });
      return guest;
    };
    const stopped = until(wait.place.position);
    stopped.machine.run(wait.place.position, FOR_EVER);
    const through = until(wait.place.position);
    through.remove(SCRATCH_PAGE);
    expect(through.machine.run(position(1n << 40n), FOR_EVER).kind).toBe("missing-page");
    through.putBack();
    expect(through.machine.position).toBe(wait.place.position);
    expect(through.fingerprint()).toEqual(stopped.fingerprint());
  });
});
