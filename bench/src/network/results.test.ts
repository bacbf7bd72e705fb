import { expect, test } from "vitest";
import { networkResult, RowSamples } from "./results.ts";
import { networkTable } from "./table.ts";

const rate = { name: "rate", unit: "1/s", higherIsBetter: true };
const time = { name: "time", unit: "us", higherIsBetter: false };

test("a row is medians, and ratios above 1 where we are better", () => {
  const [fast, slow] = [new RowSamples(rate), new RowSamples(time)];
  for (const value of [30, 10, 20]) fast.add({ value, qemuSeam: value / 2, qemu: value * 2 });
  slow.add({ value: 50, qemuSeam: 100, qemu: 25 });
  const { rows, geomeanRatioSeam, geomeanRatio } = networkResult([fast, slow]);
  expect(rows.map(({ value, ratioSeam, ratio }) => [value, ratioSeam, ratio])).toEqual([
    [20, 2, 0.5],
    [50, 2, 0.5],
  ]);
  expect(geomeanRatioSeam).toBeCloseTo(2);
  expect(geomeanRatio).toBeCloseTo(0.5);
});

test("a ratio is of values of one round, however the host's speed changes between rounds", () => {
  const samples = new RowSamples(rate);
  samples.add({ value: 12, qemuSeam: 10 });
  samples.add({ value: 110, qemuSeam: 100 });
  samples.add({ value: 11, qemuSeam: 100 });
  samples.add({ value: 1300, qemuSeam: 1000 });
  samples.add({ value: 2000 });
  expect(samples.result()).toMatchObject({ value: 110, qemuSeam: 100, ratio: null });
  expect(samples.result().ratioSeam).toBeCloseTo(1.15);
});

test("what a peer cannot do is null with its reason, and spoils no mean", () => {
  const [whole, partial] = [new RowSamples(rate), new RowSamples(rate)];
  whole.add({ value: 5, qemuSeam: 5, qemu: 5 });
  partial.add({ value: 5, qemu: 10 });
  partial.fail("qemuSeam", "not within 45 s");
  const result = networkResult([whole, partial]);
  expect(result.geomeanRatioSeam).toBeCloseTo(1);
  expect(result.geomeanRatio).toBeCloseTo(0.5 ** 0.5);
  expect(result.rows[1]).toMatchObject({
    qemuSeam: null,
    ratioSeam: null,
    ratio: 0.5,
    failures: { qemuSeam: "not within 45 s" },
  });
  expect(networkTable(result)).toContain("rate, qemuSeam: not within 45 s");
});

test("a failed round among others only leaves its reason", () => {
  const samples = new RowSamples(rate);
  samples.add({ value: 4 });
  samples.add({});
  samples.fail("value", "lost");
  expect(samples.result()).toMatchObject({ value: 4, failures: { value: "lost" } });
});

test("without any value there is no mean", () => {
  const result = networkResult([new RowSamples(rate)]);
  expect(result).toMatchObject({ geomeanRatioSeam: null, geomeanRatio: null });
});
