/** The network benchmark's result as a table for people. */
import type { NetworkBenchResult } from "./network.ts";

const WIDTHS = [28, 6, 12, 12, 12, 12, 12];

/** Lines without colours. */
export function networkTable({ rows, ...means }: NetworkBenchResult): string {
  const lines = [["row", "", "gateway", "QEMU seam", "QEMU", "ratio seam", "ratio"]];
  for (const { name, unit, value, qemuSeam, qemu, ratioSeam, ratio } of rows) {
    const values = [value, qemuSeam, qemu].map((each) => each.toFixed(1));
    lines.push([name, unit, ...values, ratioSeam.toFixed(3), ratio.toFixed(3)]);
  }
  const { geomeanRatioSeam, geomeanRatio } = means;
  lines.push(["geo. mean", "", "", "", "", geomeanRatioSeam.toFixed(3), geomeanRatio.toFixed(3)]);
  const text = lines.map((cells) =>
    cells.map((cell, i) => (i < 2 ? cell.padEnd(WIDTHS[i] ?? 0) : cell.padStart(WIDTHS[i] ?? 0))),
  );
  return text.map((cells) => `${cells.join("")}\n`).join("");
}
