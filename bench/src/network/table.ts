/** The network benchmark's result as a table for people. */
import type { NetworkBenchResult } from "./results.ts";

const WIDTHS = [28, 6, 12, 12, 12, 12, 12];

/** Lines without colours. */
export function networkTable({ rows, ...means }: NetworkBenchResult): string {
  const lines = [["row", "", "gateway", "QEMU seam", "QEMU", "ratio seam", "ratio"]];
  for (const { name, unit, value, qemuSeam, qemu, ratioSeam, ratio } of rows) {
    const values = [value, qemuSeam, qemu].map((each) => shown(each, 1));
    lines.push([name, unit, ...values, shown(ratioSeam, 3), shown(ratio, 3)]);
  }
  const { geomeanRatioSeam, geomeanRatio } = means;
  lines.push(["geo. mean", "", "", "", "", shown(geomeanRatioSeam, 3), shown(geomeanRatio, 3)]);
  const text = lines.map((cells) =>
    cells.map((cell, i) => (i < 2 ? cell.padEnd(WIDTHS[i] ?? 0) : cell.padStart(WIDTHS[i] ?? 0))),
  );
  for (const { name, failures } of rows) {
    for (const [kind, why] of Object.entries(failures)) text.push([`${name}, ${kind}: ${why}`]);
  }
  return text.map((cells) => `${cells.join("")}\n`).join("");
}

function shown(value: number | null, digits: number): string {
  return value === null ? "-" : value.toFixed(digits);
}
