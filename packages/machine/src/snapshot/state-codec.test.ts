import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import type { State, StateValue } from "../device/device.ts";
import { decodeState, encodeState, MAX_STATE_DEPTH } from "./state-codec.ts";

const corrupt: unknown = expect.objectContaining({ code: "E_SNAPSHOT_CORRUPT" });

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function thrownBy(action: () => unknown): unknown {
  try {
    action();
  } catch (error) {
    return error;
  }
  return undefined;
}

const SAMPLE: State = {
  version: 1,
  flag: true,
  off: false,
  pc: 0x8000_0000n,
  drift: -300n,
  name: "uart",
  fifo: Uint8Array.of(1, 2, 3),
  list: [1, "zwei", { deep: [] }],
};

/** A random tree; `depth` bounds it. */
function randomValue(prng: Prng, depth: number): StateValue {
  const kinds = depth > 0 ? 8 : 6;
  switch (prng.below(kinds)) {
    case 0:
      return prng.oneIn(2);
    case 1:
      return prng.u32() - 2 ** 31;
    case 2:
      return prng.u64() >> BigInt(prng.below(64));
    case 3:
      return -(prng.u64() << BigInt(prng.below(100)));
    case 4:
      return String.fromCodePoint(
        ...Array.from({ length: prng.below(9) }, () => prng.below(0xd800)),
      );
    case 5:
      return prng.fill(new Uint8Array(prng.below(40)));
    case 6:
      return Array.from({ length: prng.below(5) }, () => randomValue(prng, depth - 1));
    default:
      return randomState(prng, depth - 1);
  }
}

function randomState(prng: Prng, depth: number): State {
  const fields = Array.from({ length: prng.below(6) }, (): [string, StateValue] => {
    return [`f${prng.below(1000)}`, randomValue(prng, depth)];
  });
  return Object.fromEntries(fields);
}

function nested(levels: number): State {
  let value: State = {};
  for (let i = 1; i < levels; i++) value = { a: value };
  return value;
}

describe("state codec", () => {
  test("a tree keeps its bytes", () => {
    expect(hex(encodeState({ b: [true, 258n, -1n], a: 1.5, c: Uint8Array.of(9), d: "é" }))).toBe(
      "0804000000" +
        "016102000000000000f83f" +
        "01620703000000" +
        "01" +
        "03020201" +
        "040101" +
        "0163060100000009" +
        "01640502000000c3a9",
    );
  });

  test("decode gives what encode took, in any field order", () => {
    expect(decodeState(encodeState(SAMPLE))).toEqual(SAMPLE);
    const reversed = Object.fromEntries(Object.entries(SAMPLE).reverse());
    expect(encodeState(reversed)).toEqual(encodeState(SAMPLE));
  });

  test("random trees come back equal", () => {
    const prng = new Prng(0x57a7e);
    for (let i = 0; i < 2000; i++) {
      const state = randomState(prng, 5);
      expect(decodeState(encodeState(state))).toEqual(state);
    }
  });

  test("byte arrays are copies, not views of the input", () => {
    const encoded = Buffer.from(encodeState({ a: Uint8Array.of(7) }));
    const decoded = decodeState(encoded);
    encoded.fill(0);
    expect(decoded).toEqual({ a: Uint8Array.of(7) });
  });

  test("every truncation is E_SNAPSHOT_CORRUPT", () => {
    const encoded = encodeState(SAMPLE);
    for (let length = 0; length < encoded.length; length++) {
      expect(thrownBy(() => decodeState(encoded.subarray(0, length)))).toEqual(corrupt);
    }
  });

  test("a mutated input is E_SNAPSHOT_CORRUPT or decodes to what encodes to it", () => {
    const prng = new Prng(0xf022);
    let refused = 0;
    for (let i = 0; i < 20_000; i++) {
      const bytes = encodeState(i % 4 === 0 ? randomState(prng, 4) : SAMPLE);
      for (let n = 1 + prng.below(3); n > 0; n--) bytes[prng.below(bytes.length)] = prng.u32();
      let decoded: State | undefined;
      const error = thrownBy(() => {
        decoded = decodeState(bytes);
      });
      if (decoded === undefined) {
        refused++;
        expect(error).toEqual(corrupt);
      } else {
        expect(encodeState(decoded)).toEqual(bytes);
      }
    }
    expect(refused).toBeGreaterThan(5000);
  });

  test(`${MAX_STATE_DEPTH} levels are taken, one more is refused`, () => {
    const deepest = encodeState(nested(MAX_STATE_DEPTH));
    expect(decodeState(deepest)).toEqual(nested(MAX_STATE_DEPTH));
    expect(() => encodeState(nested(MAX_STATE_DEPTH + 1))).toThrow("too deep");
    const empty = Uint8Array.of(8, 0, 0, 0, 0);
    const deeper = [...deepest.subarray(0, -5), 8, 1, 0, 0, 0, 1, 0x61, ...empty];
    expect(thrownBy(() => decodeState(Uint8Array.from(deeper)))).toEqual(corrupt);
  });

  test("a count beyond the input is refused before anything is made", () => {
    const list = Uint8Array.of(8, 1, 0, 0, 0, 1, 0x61, 7, 0xff, 0xff, 0xff, 0xff, 0, 0);
    expect(thrownBy(() => decodeState(list))).toEqual(corrupt);
  });

  test.each([
    ["an unknown tag", [8, 1, 0, 0, 0, 1, 0x61, 9]],
    ["fields out of order", [8, 2, 0, 0, 0, 1, 0x62, 0, 1, 0x61, 0]],
    ["a field twice", [8, 2, 0, 0, 0, 1, 0x61, 0, 1, 0x61, 0]],
    ["a field name like __proto__", [8, 1, 0, 0, 0, 1, 0x5f, 0]],
    ["a padded integer", [8, 1, 0, 0, 0, 1, 0x61, 3, 2, 1, 0]],
    ["a negative zero", [8, 1, 0, 0, 0, 1, 0x61, 4, 0]],
    ["text that is not UTF-8", [8, 1, 0, 0, 0, 1, 0x61, 5, 1, 0, 0, 0, 0xff]],
    ["bytes after the tree", [8, 0, 0, 0, 0, 0]],
    ["a tree that is no object", [1]],
  ])("refuses %s", (_, bytes) => {
    expect(thrownBy(() => decodeState(Uint8Array.from(bytes)))).toEqual(corrupt);
  });
});
