import { expect, test } from "vitest";
import { parseMoment } from "./moment.ts";

const SPAN = { first: 1000n, last: 3000n };

test.for([
  ["90s", { kind: "ticks", ticks: 900_000_000n }],
  ["1.5m", { kind: "ticks", ticks: 900_000_000n }],
  ["200ms", { kind: "ticks", ticks: 2_000_000n }],
  ["0.0000001s", { kind: "ticks", ticks: 1n }],
  ["50%", { kind: "position", position: 2000n }],
  ["0%", { kind: "position", position: 1000n }],
  ["100%", { kind: "position", position: 3000n }],
  ["15e8", { kind: "position", position: 1_500_000_000n }],
  ["1_500", { kind: "position", position: 1500n }],
  ["0", { kind: "position", position: 0n }],
  ["end", { kind: "end" }],
] as const)("%s is a moment", ([text, goal]) => {
  expect(parseMoment(text, "--until", SPAN)).toEqual(goal);
});

test.for(["", "soon", "-5s", "101%", "5d", "1e99", "50%%", "1.5", "18446744073709551616"])(
  "%s is none",
  (text) => {
    expect(() => parseMoment(text, "--until", SPAN)).toThrow(`cannot use --until ${text}`);
  },
);
