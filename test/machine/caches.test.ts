/** Translations and predecoded code are caches: emptying them anywhere changes nothing. */
import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { BARE_PROGRAMS } from "./programs/bare.ts";
import { EXECUTED_TABLES } from "./programs/executed-table.ts";
import { manyPages } from "./programs/many-pages.ts";
import { pagedProgram } from "./programs/paged.ts";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest, inGate, type Program } from "./support/guest.ts";

const SEEDS = inGate([1], [1, 2, 3]);
const PROGRAMS: readonly Program[] = [
  ...BARE_PROGRAMS,
  ...EXECUTED_TABLES,
  virtioProgram(),
  ...SEEDS.map((seed) => pagedProgram("sv39", seed)),
  ...SEEDS.map((seed) => pagedProgram("sv48", seed + 100)),
];
/** Digests are compared this often, so that a difference is found near its cause. */
const STRIDE = 100;

/** The digest every STRIDE positions up to the program's length; `advance` runs to each. */
function trail(guest: Guest, advance: (to: number) => void): string[] {
  const digests: string[] = [];
  for (let at = STRIDE; at <= guest.program.length; at += STRIDE) {
    advance(at);
    digests.push(guest.machine.digest());
  }
  return digests;
}

describe.each(PROGRAMS)("$name", (program) => {
  const whole = new Guest(program);
  const expected = trail(whole, (to) => void whole.runTo(to));
  const end = whole.fingerprint();
  const outputs = whole.takeOutputs();

  test("[MA3] emptied at every position", () => {
    const guest = new Guest(program);
    const seen = trail(guest, (to) => {
      while (guest.position < to) {
        guest.machine.dropCaches();
        guest.runTo(guest.position + 1);
      }
    });
    expect(seen).toEqual(expected);
    expect(guest.fingerprint()).toEqual(end);
    expect(guest.takeOutputs()).toBe(outputs);
  });

  test("[MA3] cut at every position, never emptied", () => {
    const guest = new Guest(program);
    const seen = trail(guest, (to) => {
      while (guest.position < to) guest.runTo(guest.position + 1);
    });
    expect(seen).toEqual(expected);
  });

  test("[MA3] emptied at random positions", () => {
    const random = new Prng(0x7e57);
    const guest = new Guest(program);
    const seen = trail(guest, (to) => {
      while (guest.position < to) {
        guest.runTo(Math.min(to, guest.position + 1 + random.below(40)));
        if (random.oneIn(2)) guest.machine.dropCaches();
      }
    });
    expect(seen).toEqual(expected);
  });

  test("[MA3] [MA7] restored with empty caches at random positions", () => {
    const random = new Prng(0x7e58);
    let guest = new Guest(program);
    const used = new Guest(program);
    const seen: string[] = [];
    for (let at = STRIDE; at <= program.length; at += STRIDE) {
      guest.runTo(at - random.below(STRIDE));
      const now = guest.snapshot();
      guest = random.oneIn(2) ? Guest.restored(program, now) : used.restore(now);
      guest.runTo(at);
      seen.push(guest.machine.digest());
    }
    expect(seen).toEqual(expected);
    expect(guest.fingerprint()).toEqual(end);
  });
});

test("[MA3] more code than is kept predecoded runs as any other", () => {
  const { program, end } = manyPages();
  const guest = new Guest(program);
  guest.runTo(program.length);
  expect(guest.machine.pc).toBe(end);
  expect(guest.machine.save().hart).toMatchObject({ traps: 0n });
});
