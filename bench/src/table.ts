/** A benchmark's result as a table for people. */
import type { EngineBenchResult } from "./engine.ts";

const HEADINGS = ["program", "MIPS", "QEMU", "icount", "ratio", "ratio icount"];
const NAME_WIDTH = 12;
const WIDTH = 14;

function row(cells: readonly string[]): string {
  const [name = "", ...figures] = cells;
  return name.padEnd(NAME_WIDTH) + figures.map((figure) => figure.padStart(WIDTH)).join("");
}

/** Lines without colours; MIPS are per CPU second of the whole process. */
export function engineTable(result: EngineBenchResult): string {
  const lines = [row(HEADINGS)];
  for (const program of result.programs) {
    const { name, mips, qemuMips, qemuIcountMips, ratio, ratioIcount } = program;
    const speeds = [mips, qemuMips, qemuIcountMips].map((speed) => speed.toFixed(0));
    lines.push(row([name, ...speeds, ratio.toFixed(3), ratioIcount.toFixed(3)]));
  }
  const means = [result.geomeanRatio, result.geomeanRatioIcount].map((mean) => mean.toFixed(3));
  lines.push(row(["geo. mean", "", "", "", ...means]));
  const { bootSeconds, qemuBootSeconds } = result;
  if (bootSeconds !== null && qemuBootSeconds !== null) {
    const ratio = (bootSeconds / qemuBootSeconds).toFixed(2);
    lines.push(
      `Debian boot: ${bootSeconds.toFixed(1)} s, QEMU ${qemuBootSeconds.toFixed(1)} s (${ratio}x)`,
    );
  }
  return `${lines.join("\n")}\n`;
}
