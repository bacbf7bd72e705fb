/** A benchmark's result as a table for people. */
import type { BootResult, EngineBenchResult, ProgramResult } from "./engine.ts";

const HEADINGS = {
  bare: ["bare program", "MIPS", "QEMU", "icount", "ratio", "ratio icount"],
  debian: ["in Debian", "CPU s", "QEMU", "icount", "ratio", "ratio icount"],
};
const NAME_WIDTH = 14;
const WIDTH = 13;

function row(cells: readonly string[]): string {
  const [name = "", ...figures] = cells;
  return name.padEnd(NAME_WIDTH) + figures.map((figure) => figure.padStart(WIDTH)).join("");
}

function figure(value: number | null, digits: number): string {
  return value === null ? "-" : value.toFixed(digits);
}

function programRow(program: ProgramResult): string {
  const { name, kind, machine, qemu, qemuIcount, ratio, ratioIcount } = program;
  const speeds = [machine, qemu, qemuIcount].map((value) => figure(value, kind === "bare" ? 0 : 2));
  return row([name, ...speeds, figure(ratio, 3), figure(ratioIcount, 3)]);
}

function bootLine({ seconds, qemuSeconds, cpuSeconds, qemuCpuSeconds, timeRatio }: BootResult) {
  const wall = `${seconds.toFixed(2)} s, QEMU ${qemuSeconds.toFixed(2)} s`;
  const cpu = `CPU ${cpuSeconds.toFixed(2)} s, QEMU ${qemuCpuSeconds.toFixed(2)} s`;
  return `Debian boot: ${wall} (${timeRatio.toFixed(2)}x); ${cpu}`;
}

/** Lines without colours; ratios are the machine's speed over QEMU's. */
export function engineTable(result: EngineBenchResult): string {
  const lines = [`${result.qemuVersion}; rounds: ${result.rounds}`];
  for (const kind of ["bare", "debian"] as const) {
    const programs = result.programs.filter((program) => program.kind === kind);
    if (programs.length > 0) lines.push(row(HEADINGS[kind]), ...programs.map(programRow));
  }
  if (result.programs.length > 0) {
    const { geomeanRatio, geomeanRatioIcount } = result;
    const means = [figure(geomeanRatio, 3), figure(geomeanRatioIcount, 3)];
    lines.push(row(["geo. mean", "", "", "", ...means]));
  }
  if (result.boot !== null) lines.push(bootLine(result.boot));
  return `${lines.join("\n")}\n`;
}
