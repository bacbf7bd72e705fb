import { expect, test } from "vitest";
import { nextState, type TcpState, type TcpStep } from "./state.ts";

const STATES: readonly TcpState[] = [
  "connecting",
  "syn-sent",
  "syn-received",
  "established",
  "fin-wait-1",
  "fin-wait-2",
  "close-wait",
  "closing",
  "last-ack",
  "time-wait",
  "closed",
];
const STEPS: readonly TcpStep[] = [
  "dialled",
  "syn-acked",
  "fin-sent",
  "fin-acked",
  "fin-received",
  "ended",
];

test("every pair of state and step is one that RFC 9293 draws, or cannot happen", () => {
  const drawn = STATES.flatMap((state) =>
    STEPS.flatMap((step) => {
      const next = nextState(state, step);
      return next === undefined || step === "ended" ? [] : [`${state} ${step} ${next}`];
    }),
  );
  expect(drawn).toEqual([
    "connecting dialled syn-received",
    "syn-sent syn-acked established",
    "syn-received syn-acked established",
    "established fin-sent fin-wait-1",
    "established fin-received close-wait",
    "fin-wait-1 fin-acked fin-wait-2",
    "fin-wait-1 fin-received closing",
    "fin-wait-2 fin-received time-wait",
    "close-wait fin-sent last-ack",
    "closing fin-acked time-wait",
    "last-ack fin-acked closed",
  ]);
  for (const state of STATES) {
    expect(nextState(state, "ended")).toBe(state === "closed" ? undefined : "closed");
  }
});
