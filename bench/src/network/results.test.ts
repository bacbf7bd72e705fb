import { expect, test } from "vitest";
import { networkResult, RowSamples } from "./results.ts";
import { networkTable } from "./table.ts";

const rate = { name: "rate", unit: "1/s", higherIsBetter: true };
const time = { name: "time", unit: "us", higherIsBetter: false };

test("a row is medians, and ratios above 1 where we are better", () => {
  const [fast, slow] = [new RowSamples(rate), new RowSamples(time)];
  for (const value of [30, 10, 20]) fast.add("value", value);
  fast.add("qemuSeam", 10);
  fast.add("qemu", 40);
  slow.add("value", 50);
  slow.add("qemuSeam", 100);
  slow.add("qemu", 25);
  const { rows, geomeanRatioSeam, geomeanRatio } = networkResult([fast, slow]);
  expect(rows.map(({ value, ratioSeam, ratio }) => [value, ratioSeam, ratio])).toEqual([
    [20, 2, 0.5],
    [50, 2, 0.5],
  ]);
  expect(geomeanRatioSeam).toBeCloseTo(2);
  expect(geomeanRatio).toBeCloseTo(0.5);
});

test("what a peer cannot do is null with its reason, and spoils no mean", () => {
  const [whole, partial] = [new RowSamples(rate), new RowSamples(rate)];
  for (const kind of ["value", "qemuSeam", "qemu"] as const) whole.add(kind, 5);
  partial.add("value", 5);
  partial.add("qemu", 10);
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
  samples.add("value", 4);
  samples.fail("value", "lost");
  expect(samples.result()).toMatchObject({ value: 4, failures: { value: "lost" } });
});

test("without any value there is no mean", () => {
  const result = networkResult([new RowSamples(rate)]);
  expect(result).toMatchObject({ geomeanRatioSeam: null, geomeanRatio: null });
});
