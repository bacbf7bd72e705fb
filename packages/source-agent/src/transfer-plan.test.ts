import { expect, test } from "vitest";
import { TransferPlan } from "./transfer-plan.ts";

function drain(plan: TransferPlan, count = 4) {
  const all: string[] = [];
  for (let batch = plan.next(count); batch !== undefined; batch = plan.next(count)) {
    all.push(...batch.items.map((item) => `${batch.checkpoint}:${item}`));
  }
  return all;
}

test("[TP1] wanted first, then as touched, then the rest; each once", () => {
  const plan = new TransferPlan();
  plan.begin(0, [1, 2, 3, 20, 40, 41, 60]);
  plan.touched(0, [60, 3]);
  expect(plan.want(0, [40, 99])).toEqual([99]);
  expect(plan.next(3)).toEqual({ checkpoint: 0, items: [40, 41], urgent: true });
  expect(drain(plan, 2)).toEqual(["0:60", "0:3", "0:1", "0:2", "0:20"]);
  expect(plan.pending).toBe(0);
});

test("[TP2] what a later checkpoint replaces is not sent, unless it is wanted", () => {
  const plan = new TransferPlan();
  plan.begin(0, [1, 2, 3]);
  plan.begin(1, [2, 3]);
  expect(plan.want(0, [3])).toEqual([]);
  expect(drain(plan)).toEqual(["0:3", "0:1", "1:2", "1:3"]);
  expect(plan.want(1, [2])).toEqual([]);
  expect(plan.next(9)).toBe(undefined);
});

test("[TP3] a reference that the target does not know is sent again", () => {
  const plan = new TransferPlan();
  plan.begin(0, [1, 2]);
  drain(plan);
  plan.again(0, [2, 7]);
  expect(plan.pending).toBe(1);
  expect(drain(plan)).toEqual(["0:2"]);
});

test("[TP1] what is asked for again and again is sent once", () => {
  const plan = new TransferPlan();
  plan.begin(0, [1, 2, 40, 41]);
  for (let n = 0; n < 1000; n++) plan.want(0, [40, 41]);
  expect(plan.next(1)).toEqual({ checkpoint: 0, items: [40], urgent: true });
  expect(plan.next(9)).toEqual({ checkpoint: 0, items: [41], urgent: true });
  expect(plan.isUrgent).toBe(false);
  plan.want(0, [40]);
  plan.again(0, [40]);
  plan.again(0, [40]);
  expect(plan.next(9)).toEqual({ checkpoint: 0, items: [40], urgent: true });
  expect(plan.next(9)).toEqual({ checkpoint: 0, items: [1, 2], urgent: false });
});

test("[TP4] nothing of a checkpoint that is closed is read again", () => {
  const plan = new TransferPlan();
  plan.begin(0, [1, 2, 3]);
  plan.begin(1, [2, 3]);
  drain(plan);
  plan.want(0, [2]);
  plan.close(0);
  plan.again(0, [1]);
  plan.want(0, [3]);
  expect(plan.next(9)).toBeUndefined();
  expect(plan.pending).toBe(0);
});
