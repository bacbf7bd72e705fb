import { Prng } from "@dejavm/base";
import { expect, test } from "vitest";
import { Fifo } from "./fifo.ts";

test("a queue gives what an array gives", () => {
  const prng = new Prng(1);
  const fifo = new Fifo<number>();
  let model: number[] = [];
  for (let i = 0; i < 20_000; i++) {
    const front = prng.below(8);
    // Long phases of growing and shrinking, so that the head moves far.
    if (front < (i % 8000 < 4000 ? 5 : 2)) {
      fifo.push(i);
      model.push(i);
    } else if (front === 7) {
      fifo.unshift(i);
      model = [i, ...model];
    } else {
      expect(fifo.peek()).toBe(model[0]);
      expect(fifo.shift()).toBe(model.shift());
    }
    expect(fifo.length).toBe(model.length);
  }
});
