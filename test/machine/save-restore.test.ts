/** What `save` gives is complete: run n, save, restore, run m equals run n+m; all of it counts. */
import { Prng } from "@dejavm/base";
import { RAM_BASE, type State, type StateValue } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { BARE_PROGRAMS } from "./programs/bare.ts";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest, inGate, type Snapshot } from "./support/guest.ts";

const VIRTIO = virtioProgram();
/** Frames wait, console input is queued, requests are in flight, the alarm is armed. */
const BUSY = 585;

describe("[MA7] run n, save, restore, run m equals run n+m", () => {
  const whole = new Guest(VIRTIO);
  whole.runTo(VIRTIO.length);
  const end = whole.fingerprint();
  const outputs = whole.takeOutputs();
  const used = new Guest(VIRTIO);
  used.runTo(777);

  test("for each device with requests in flight, into a fresh and a used machine", () => {
    const random = new Prng(0x5a7e);
    const source = new Guest(VIRTIO);
    let before = "";
    for (let at = 0; at < VIRTIO.length; at += 1 + random.below(inGate(120, 25))) {
      source.runTo(at);
      before = join(before, source.takeOutputs());
      const saved = source.snapshot();
      const next = random.oneIn(8) ? Guest.restored(VIRTIO, saved) : used.restore(saved);
      expect(next.fingerprint()).toEqual(source.fingerprint());
      next.runTo(VIRTIO.length);
      expect(next.fingerprint()).toEqual(end);
      expect(join(before, next.takeOutputs())).toBe(outputs);
    }
  });

  test("the program had everything in flight at once", () => {
    const guest = new Guest(VIRTIO);
    guest.runTo(BUSY);
    expect(guest.machine.save()).toMatchObject({
      board: { devices: { "virtio-net.0": { device: { waiting: [{}, {}] } } } },
    });
  });

  test("a machine of another program is restored as a fresh one is", () => {
    const [other] = BARE_PROGRAMS;
    if (other === undefined) throw new Error("there are programs");
    const config = { ...VIRTIO.config };
    const stranger = new Guest({ ...other, config });
    stranger.runTo(400);
    const source = new Guest(VIRTIO);
    source.runTo(BUSY);
    const next = new Guest(VIRTIO, stranger.machine).restore(source.snapshot());
    expect(next.fingerprint()).toEqual(source.fingerprint());
    next.runTo(VIRTIO.length);
    expect(next.fingerprint()).toEqual(end);
  });
});

/** Two texts of outputs one after the other: console bytes run on. */
function join(before: string, after: string): string {
  const lastPort = before.slice(before.lastIndexOf("[")).match(/^\[(\w+)\]/)?.[1];
  const port = after.match(/^\[(\w+)\]/)?.[1];
  if (port === undefined || port === "frame" || port !== lastPort) return before + after;
  return before + after.slice(port.length + 2);
}

/** A place in a state: the names and indices that lead to it. */
type Path = readonly (string | number)[];

function isList(value: StateValue): value is readonly StateValue[] {
  return Array.isArray(value);
}

/** Every single value in a state. */
function* leaves(value: StateValue, path: Path = []): Generator<[Path, StateValue]> {
  if (isList(value)) {
    for (const [i, item] of value.entries()) yield* leaves(item, [...path, i]);
  } else if (typeof value === "object" && !(value instanceof Uint8Array)) {
    for (const [name, item] of Object.entries(value)) yield* leaves(item, [...path, name]);
  } else yield [path, value];
}

/** Values beside `value` that a field may also have; some may be refused. */
function others(value: StateValue): StateValue[] {
  if (typeof value === "bigint") return [value ^ 1n, value ^ 2n, value + 4n];
  if (typeof value === "number") {
    const near = [value + 1, value - 1, value ^ 2, value ^ 4, value + 8, value * 2];
    near.push(value ^ 0x2000_0000);
    return near.filter((other) => other >= 0 && other !== value);
  }
  if (typeof value === "boolean") return [!value];
  if (typeof value === "string") return ["reset", "power-off"];
  if (!(value instanceof Uint8Array)) throw new Error("a leaf is no container");
  const longer = new Uint8Array([...value, 1]);
  if (value.length === 0) return [longer];
  const flipped = [0, value.length >> 1, value.length - 1].map((at) => {
    const copy = value.slice();
    copy[at] = (copy[at] ?? 0) ^ 1;
    return copy;
  });
  return [...flipped, longer];
}

function replaced(state: StateValue, [head, ...rest]: Path, by: StateValue): StateValue {
  if (head === undefined) return by;
  if (isList(state)) {
    return state.map((item, i) => (i === head ? replaced(item, rest, by) : item));
  }
  const record = state as { readonly [field: string]: StateValue };
  return { ...record, [head]: replaced(record[head], rest, by) };
}

describe("[MA9] the digest covers", () => {
  const source = new Guest(VIRTIO);
  source.runTo(BUSY);
  const saved = source.snapshot();
  const digest = source.machine.digest();
  const used = new Guest(VIRTIO);

  /** The digest of a machine restored from something else; undefined: that was refused. */
  function digestOf(change: Partial<Snapshot>): string | undefined {
    try {
      used.restore({ ...saved, ...change });
    } catch (error) {
      expect(error).toMatchObject({ code: "E_SNAPSHOT_INVALID" });
      return undefined;
    }
    return used.machine.digest();
  }

  /** By field, of those asked for: whether another value that is accepted changes the digest. */
  function coverage(state: State, isAsked: (name: string) => boolean): Map<string, boolean> {
    const names = new Map<string, boolean>();
    const expected = digestOf({ state });
    for (const [path, value] of leaves(state)) {
      const name = path.join(".");
      if (!isAsked(name)) continue;
      const isCovered = others(value).some((other) => {
        const changed = digestOf({ state: replaced(state, path, other) as State });
        return changed !== undefined && changed !== expected;
      });
      names.set(name, isCovered);
    }
    return names;
  }

  test("each field of each saved part", () => {
    expect(digestOf({})).toBe(digest);
    // Some fields can only change where others allow it: a queue is ready once it has a size.
    const late = new Guest(VIRTIO);
    late.runTo(VIRTIO.length);
    const off = { ...late.machine.save(), power: "power-off", status: 3 };
    const first = [...coverage(saved.state, () => true)];
    const never = new Set(first.flatMap(([name, isCovered]) => (isCovered ? [] : [name])));
    const words = { tohost: RAM_BASE, fromhost: RAM_BASE + 64 };
    const htif = replaced(saved.state, ["board", "htif"], words) as State;
    for (const state of [late.machine.save(), off, htif]) {
      for (const [name, isCovered] of coverage(state, (asked) => never.has(asked))) {
        if (isCovered) never.delete(name);
      }
    }
    expect([...never]).toEqual(["version"]);
  });

  test("each kind of page: with content, of zeros, the first and the last", () => {
    const [written = 0] = [...saved.pages.keys()].slice(3);
    const last = source.machine.pageCount - 1;
    for (const page of [0, written, 8000, last]) {
      for (const at of [0, 1, 31, 2048, 4095]) {
        const bytes = (saved.pages.get(page) ?? new Uint8Array(4096)).slice();
        bytes[at] = (bytes[at] ?? 0) ^ 0x80;
        expect(digestOf({ pages: new Map(saved.pages).set(page, bytes) })).not.toBe(digest);
      }
    }
  });

  test("which page has which content, and in which order", () => {
    const [[a, first], [b, second]] = [...saved.pages].slice(1, 3) as [
      [number, Uint8Array],
      [number, Uint8Array],
    ];
    expect(digestOf({ pages: new Map(saved.pages).set(a, second).set(b, first) })).not.toBe(digest);
  });

  test("the content of disk chunks that the guest wrote", () => {
    // The same program, writing 0xef to the disk instead of 0xee.
    const image = VIRTIO.image.slice();
    for (const [i, byte] of image.entries()) if (byte === 0xee) image[i] = 0xef;
    const other = new Guest({ ...VIRTIO, image });
    other.runTo(BUSY);
    const state = other.machine.save() as { board: { disks: StateValue } };
    const mine = saved.state as { board: { disks: StateValue } };
    expect(state.board.disks).not.toEqual(mine.board.disks);
    expect(
      digestOf({ state: replaced(saved.state, ["board", "disks"], state.board.disks) as never }),
    ).not.toBe(digest);
  });
});
