import { describe, expect, test } from "vitest";
import { address } from "./address.ts";
import { formatForward, parseForward } from "./forwards.ts";
import { RateLimit } from "./limits.ts";
import { formatRule, MAX_RULES, Policy, parseRule } from "./policy.ts";

const ask = (policy: Policy, text: string, port = 80) =>
  policy.allows({ direction: "out", protocol: "tcp", address: address(text), port });

describe("policy", () => {
  test("[NE3] without rules: outside yes, loopback, metadata and our own network no", () => {
    const policy = new Policy();
    expect(ask(policy, "192.0.2.1")).toBe(true);
    expect(ask(policy, "10.0.2.3", 53)).toBe(true);
    expect(ask(policy, "10.0.2.3", 52)).toBe(false);
    expect(ask(policy, "10.0.2.3", 54)).toBe(false);
    for (const text of [
      "10.0.2.2",
      "10.0.2.99",
      "127.1.2.3",
      "169.254.169.254",
      "255.255.255.255",
    ]) {
      expect(ask(policy, text)).toBe(false);
    }
  });

  test("the first rule that fits decides", () => {
    const policy = new Policy([
      parseRule("deny", "tcp:192.0.2.0/24:1-79"),
      parseRule("allow", "192.0.2.8"),
      parseRule("deny", "192.0.2.0/24"),
      parseRule("deny", "in:198.51.100.0/24:22"),
      parseRule("allow", "127.0.0.0/8:5000"),
    ]);
    expect(ask(policy, "192.0.2.8", 79)).toBe(false);
    expect(ask(policy, "192.0.2.8", 80)).toBe(true);
    expect(ask(policy, "192.0.2.9", 80)).toBe(false);
    expect(ask(policy, "127.0.0.1", 5000)).toBe(true);
    const datagram = { direction: "out", protocol: "udp", port: 79 } as const;
    expect(policy.allows({ ...datagram, address: address("192.0.2.8") })).toBe(true);
    const incoming = { direction: "in", protocol: "tcp", port: 22 } as const;
    expect(policy.allows({ ...incoming, address: address("198.51.100.3") })).toBe(false);
    expect(policy.allows({ ...incoming, address: address("198.51.101.3") })).toBe(true);
  });

  test.each(["any", "host:53", "udp:192.0.2.0/24:80-90", "in:tcp:any:22", "192.0.2.1"])(
    "the text of a rule is kept: %s",
    (text) => expect(formatRule(parseRule("allow", text))).toBe(text),
  );

  test.each(["", "x", "1.2.3", "1.2.3.4/33", "any:99999", "any:9-8", "sctp:any", "1.2.3.4:a"])(
    "%j is no rule",
    (text) => expect(() => parseRule("allow", text)).toThrow("network rule"),
  );

  test("the number of rules is limited", () => {
    const rules = Array.from({ length: MAX_RULES }, () => ({ action: "allow" }) as const);
    expect(() => new Policy(rules)).not.toThrow();
    expect(() => new Policy([...rules, { action: "allow" }])).toThrow(`${MAX_RULES + 1} rules`);
  });
});

describe("forwards", () => {
  test.each([
    ["6379:6379", "127.0.0.1:6379:6379/tcp"],
    ["0.0.0.0:8080:80/tcp", "0.0.0.0:8080:80/tcp"],
    ["0:53/udp", "127.0.0.1:0:53/udp"],
  ])("%s is %s", (text, whole) => {
    expect(formatForward(parseForward(text))).toBe(whole);
    expect(parseForward(whole)).toEqual(parseForward(text));
  });

  test.each(["", "80", "80:0", "70000:80", "1.2.3:80:80", "80:80/icmp", "a:80", "[::1]:80:80"])(
    "%j is no forward",
    (text) => expect(() => parseForward(text)).toThrow("cannot forward"),
  );
});

test("a rate limit gives what was saved in quiet times, and no more", () => {
  const rate = new RateLimit(10);
  const count = (now: number) => Array.from({ length: 50 }, () => rate.take(now)).filter(Boolean);
  expect(count(0)).toHaveLength(10);
  expect(count(500)).toHaveLength(5);
  expect(count(60_000)).toHaveLength(10);
});
