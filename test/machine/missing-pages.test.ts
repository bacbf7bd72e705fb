/**
 * Absent pages: before each instruction every page of RAM is taken away, so that each page that
 * the instruction and its device requests touch is missing in turn.
 */
import type { State } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { BARE_PROGRAMS } from "./programs/bare.ts";
import { EXECUTED_TABLES } from "./programs/executed-table.ts";
import { pagedProgram } from "./programs/paged.ts";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest, inGate, type Program, registers } from "./support/guest.ts";

const PROGRAMS: readonly Program[] = [
  ...[...BARE_PROGRAMS, ...EXECUTED_TABLES].map((program) => ({
    ...program,
    length: inGate(Math.min(120, program.length), program.length),
  })),
  { ...virtioProgram(), length: inGate(650, 1700) },
  { ...pagedProgram("sv39", 11), length: inGate(150, 1000) },
  { ...pagedProgram("sv48", 12), length: inGate(150, 1000) },
];
const PTE_ACCESSED = 0x40;

/** All pages that were ever written and are there. */
function present(guest: Guest): number[] {
  const { ram } = guest.machine;
  return [...ram.dirtySince(1)].filter((page) => !ram.isAbsent(page));
}

/** A machine at a stop: its state, and the pages that are there or were taken away. */
interface Stop {
  readonly digest: string;
  readonly state: State;
  readonly pages: ReadonlyMap<number, Uint8Array>;
}

function stopOf(guest: Guest): Stop {
  const pages = new Map(guest.removed);
  for (const page of present(guest)) pages.set(page, guest.machine.readPage(page).slice());
  return { digest: guest.machine.digest(), state: guest.machine.save(), pages };
}

/**
 * Nothing has happened since `first`, except that A bits may be set: those of the pages that the
 * instruction itself was fetched from, before one of its data pages is found missing.
 */
function expectUnchanged(guest: Guest, first: Stop): void {
  if (guest.machine.digest() === first.digest) return;
  const now = stopOf(guest);
  expect(now.state).toEqual(first.state);
  for (const [page, bytes] of now.pages) {
    const old = first.pages.get(page) ?? new Uint8Array(bytes.length);
    for (const [i, byte] of bytes.entries()) {
      const before = old[i] ?? 0;
      if (byte !== before) expect([page, i, byte]).toEqual([page, i, before | PTE_ACCESSED]);
    }
  }
}

describe.each(PROGRAMS)("$name", (program) => {
  test("[MA4] each instruction happens once, whatever it must wait for", () => {
    const reference = new Guest(program);
    const guest = new Guest(program);
    let stops = 0;
    let first: Stop | undefined;
    guest.onMissing = () => {
      stops++;
      if (first !== undefined) return expectUnchanged(guest, first);
      first = stopOf(guest);
      expect(registers(guest.machine)).toEqual(registers(reference.machine));
    };
    guest.onInput = () => {
      first = undefined;
    };
    const step = inGate(3, 1);
    for (let at = 1; at <= program.length; at++) {
      if (at % step === 0) for (const page of present(guest)) guest.remove(page);
      const before = stops;
      first = undefined;
      expect(guest.runTo(at)).toEqual({ kind: "budget" });
      expect(stops - before).toBeLessThan(30);
      for (const [page, bytes] of guest.removed) guest.machine.supplyPage(page, bytes);
      guest.removed.clear();
      reference.runTo(at);
      if (guest.machine.digest() === reference.machine.digest()) continue;
      expect(guest.machine.save()).toEqual(reference.machine.save());
      expect(guest.fingerprint()).toEqual(reference.fingerprint());
    }
    expect(guest.fingerprint()).toEqual(reference.fingerprint());
    expect(guest.takeOutputs()).toBe(reference.takeOutputs());
    if (program.name !== "fetch faults for ever")
      expect(stops).toBeGreaterThan(program.length / step / 2);
  });
});
