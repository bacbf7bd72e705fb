import { expect, test } from "vitest";
import { OutputGate } from "./output-gate.ts";

function rig() {
  const gate = new OutputGate();
  const left: string[] = [];
  return {
    gate,
    left,
    push: (after: number | undefined, name: string) => {
      gate.push(after, () => void left.push(name));
    },
  };
}

test("[RV2] everything waits until the gate is open, whatever is kept", () => {
  const { gate, left, push } = rig();
  push(undefined, "a");
  push(0, "b");
  gate.keep(5);
  expect(left).toEqual([]);
  gate.open();
  expect(left).toEqual(["a", "b"]);
  gate.shut();
  push(1, "c");
  expect(left).toEqual(["a", "b"]);
});

test("[RV1] outputs leave in order, each behind its segment", () => {
  const { gate, left, push } = rig();
  gate.open();
  push(3, "a");
  push(2, "b");
  push(undefined, "c");
  push(4, "d");
  gate.keep(2);
  expect(left).toEqual([]);
  gate.keep(3);
  expect(left).toEqual(["a", "b", "c"]);
  gate.keep(1);
  expect(gate.waiting).toBe(1);
  gate.keep(4);
  expect(left).toEqual(["a", "b", "c", "d"]);
});

test("[RV5] what waits leaves when recording is given up, and waits again later", () => {
  const { gate, left, push } = rig();
  gate.open();
  push(7, "a");
  gate.giveUp();
  push(undefined, "b");
  expect(left).toEqual(["a", "b"]);
  gate.resume(9);
  push(10, "c");
  expect(left).toEqual(["a", "b"]);
  gate.keep(10);
  expect(left).toEqual(["a", "b", "c"]);
});
