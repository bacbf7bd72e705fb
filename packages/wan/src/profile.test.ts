import { describe, expect, test } from "vitest";
import { formatWanAddress, parseWanAddress } from "./address.ts";
import { findWanProfile, parseWanAction, parseWanProfile, queueLimit } from "./profile.ts";

describe("a profile's file", () => {
  test("changes a built-in profile, both directions first", () => {
    const profile = parseWanProfile(
      JSON.stringify({
        name: "mine",
        base: "intercontinental",
        both: { rateMbit: 5, stalledShare: 0.02, stallMs: 300 },
        down: { rateMbit: 20 },
        script: [{ atMs: 10, do: "stall", forMs: 5 }],
      }),
      "mine.json",
    );
    expect(profile.up).toMatchObject({ delayMs: 75, rateMbit: 5, stalledShare: 0.02 });
    expect(profile.down).toMatchObject({ delayMs: 75, rateMbit: 20 });
    expect(profile.script).toEqual([
      {
        trigger: { kind: "time", atMs: 10 },
        action: { kind: "stall", forMs: 5, directions: ["up", "down"] },
      },
    ]);
  });

  test.each([
    ["no JSON", "{"],
    ["an unknown field", '{"rate":5}'],
    ["an unknown base", '{"base":"lunar"}'],
    ["a rate of nothing", '{"both":{"rateMbit":0}}'],
    ["a share above one", '{"up":{"stalledShare":1.1}}'],
    ["a step without a trigger", '{"script":[{"do":"cut"}]}'],
    ["a step with two triggers", '{"script":[{"atMs":1,"atUpBytes":1,"do":"cut"}]}'],
    ["an unknown step", '{"script":[{"atMs":1,"do":"explode"}]}'],
    ["a step with a field too many", '{"script":[{"atMs":1,"do":"cut","kept":"client"}]}'],
  ])("with %s is E_WAN_PROFILE", (_what, text) => {
    expect(() => parseWanProfile(text, "x.json")).toThrow(
      expect.objectContaining({ code: "E_WAN_PROFILE" }),
    );
  });

  test("says where it is wrong", () => {
    const text = '{"script":[{"atMs":1,"do":"cut"},{"atMs":2,"do":"cut","forMs":-1}]}';
    expect(() => parseWanProfile(text, "x.json")).toThrow(/x\.json: script\.1\.forMs/);
  });
});

test("an action alone reads as a step without its trigger", () => {
  expect(parseWanAction('{"do":"cut","forMs":1000}', "stdin")).toEqual({
    kind: "cut",
    forMs: 1000,
  });
});

test("a queue holds a round trip unless told otherwise", () => {
  const sizes = ["metro", "continental", "intercontinental"].map((name) => {
    const profile = findWanProfile(name);
    return profile === undefined ? 0 : queueLimit(profile.up);
  });
  expect(sizes).toEqual([1_250_000, 1_500_000, 937_500]);
});

describe("an address", () => {
  test.each(["127.0.0.1:4444", "[::1]:1", "unix:/tmp/x", "host.example:65535"])("%s", (text) => {
    expect(formatWanAddress(parseWanAddress(text))).toBe(text);
  });

  test.each(["", "4444", "host:", "host:65536", "unix:", "::1:80", "a b:1"])("not %j", (text) => {
    expect(() => parseWanAddress(text)).toThrow(expect.objectContaining({ code: "E_WAN_ADDRESS" }));
  });
});
