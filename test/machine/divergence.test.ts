/** A replay that goes another way is stopped, and it is told where and in what it differs. */
import { Prng } from "@dejavm/base";
import { EAGER_JIT, NO_JIT, type Position, position, RAM_BASE } from "@dejavm/machine";
import { differences, differenceText, divergenceText, findParting, inspect } from "@dejavm/trace";
import { expect, test } from "vitest";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest } from "./support/guest.ts";
import { LiveRun, Replay } from "./support/recording.ts";

const PROGRAM = virtioProgram();
const RECORDING = new LiveRun(new Guest(PROGRAM), new Prng(5)).run();
/** A byte that the guest reads but never writes. */
const POKED = { page: 40, offset: 123 };

/** Flips a bit in memory, as cosmic rays and bugs do, once the machine has come to `at`. */
function poke(guest: Guest): void {
  const address = RAM_BASE + POKED.page * 4096 + POKED.offset;
  const [byte = 0] = guest.machine.readPage(POKED.page).subarray(POKED.offset);
  guest.machine.ram.write(address, Uint8Array.of(byte ^ 1));
}

/** A replay whose memory changes at `at`, for `findParting`. */
class FaultySubject {
  readonly guest: Guest;
  readonly #replay: Replay;
  #at: Position | undefined;

  constructor(guest: Guest, at: Position) {
    this.guest = guest;
    this.#replay = new Replay(RECORDING, guest, { random: new Prng(1), blind: true });
    this.#at = at;
  }
  get machine() {
    return this.guest.machine;
  }
  runTo(until: Position): void {
    if (this.#at !== undefined && until >= this.#at) {
      this.#replay.runTo(this.#at);
      poke(this.guest);
      this.#at = undefined;
    }
    this.#replay.runTo(until);
  }
}

test("[TR9] the step in which two replays come apart is found, and the page", () => {
  for (const at of [301n, 777n, 1500n].map(position)) {
    const parting = findParting({
      low: position(0n),
      high: position(BigInt(PROGRAM.length)),
      expected: () =>
        new Replay(RECORDING, Guest.on({ jit: NO_JIT }, PROGRAM), { random: new Prng(1) }),
      actual: () => new FaultySubject(Guest.on({ jit: EAGER_JIT }, PROGRAM), at),
    });
    expect(parting).toMatchObject({ low: at - 1n, high: at });
    expect(parting.differences).toEqual([{ kind: "page", ...POKED }]);
  }
});

test("[TR9] a replay stops at the first digest that differs", () => {
  const guest = new Guest(PROGRAM);
  const at = 700n;
  const digests = RECORDING.digests.map((place) => place.position);
  const again = new Replay(RECORDING, guest, { random: new Prng(2) });
  again.runTo(position(at));
  poke(guest);
  const step = again.toEnd();
  if (step.kind !== "diverged") throw new Error(`it came to ${step.kind}`);
  const { divergence } = step;
  expect(divergence.reason.kind).toBe("digest");
  expect(divergence.place.position).toBe(digests.find((where) => where >= at));
  expect(divergence.matched?.position).toBe(digests.findLast((where) => where < at));
  expect(divergence.after[0]).toMatchObject({ kind: "digest" });
  const text = divergenceText(divergence);
  expect(text).toContain(`at ${divergence.place.position}`);
  expect(text.match(/^ {2}> .* digest /m)).not.toBeNull();
});

test("[TR9] registers and devices differ by name, and a far machine by what it said", () => {
  const [one, other] = [new Guest(PROGRAM), new Guest(PROGRAM)];
  for (const guest of [one, other]) new Replay(RECORDING, guest, { random: new Prng(3) }).toEnd();
  const { readPage: _, ...far } = inspect(one.machine);
  expect(differences(far, inspect(other.machine))).toEqual([]);
  poke(other);
  other.machine.input({ kind: "console", port: "uart", bytes: Uint8Array.of(1) });
  const found = differences(far, inspect(other.machine));
  expect(found).toContainEqual({ kind: "page", page: POKED.page, offset: undefined });
  const names = found.map((difference) => (difference.kind === "field" ? difference.path : ""));
  expect(names.some((name) => name.startsWith("board.devices.uart."))).toBe(true);
  expect(found.map(differenceText)).toContain(`page ${POKED.page}`);
});
