/** A benchmark's result as a table for people. */
import type { EngineBenchResult, ProgramResult } from "./engine.ts";

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

function speeds(program: ProgramResult): readonly string[] {
  return program.kind === "bare"
    ? [program.mips, program.qemuMips, program.qemuIcountMips].map((value) => figure(value, 0))
    : [program.cpuSeconds, program.qemuCpuSeconds, program.qemuIcountCpuSeconds].map((value) =>
        figure(value, 2),
      );
}

function programRow(program: ProgramResult): string {
  const { name, ratio, ratioIcount } = program;
  return row([name, ...speeds(program), figure(ratio, 3), figure(ratioIcount, 3)]);
}

function bootLine(result: EngineBenchResult): string {
  const seconds = (value: number | null): string => `${figure(value, 2)} s`;
  const wall = `${seconds(result.bootSeconds)}, QEMU ${seconds(result.qemuBootSeconds)}`;
  const cpu = `CPU ${seconds(result.bootCpuSeconds)}, QEMU ${seconds(result.qemuBootCpuSeconds)}`;
  return `Debian boot: ${wall} (${figure(result.bootTimeRatio, 2)}x); ${cpu}`;
}

type Debian = Extract<ProgramResult, { readonly kind: "debian" }>;

/** Second runs beside first ones: the difference is what warming up takes. */
function againLines(programs: readonly Debian[]): readonly string[] {
  const rows = programs.flatMap(({ name, cpuSeconds, again }) => {
    if (again === null) return [];
    const seconds = [figure(cpuSeconds, 2), figure(again.cpuSeconds, 2)];
    return row([name, ...seconds, "", figure(again.ratio, 3), figure(again.ratioIcount, 3)]);
  });
  const headings = ["run again", "CPU s before", "CPU s", "", "ratio", "ratio icount"];
  return rows.length === 0 ? [] : [row(headings), ...rows];
}

/** The machine beside its interpreter alone. */
function interpreterLines(
  result: EngineBenchResult,
  programs: readonly Debian[],
): readonly string[] {
  const boot = {
    name: "boot",
    cpuSeconds: result.bootCpuSeconds ?? Number.NaN,
    interpreterCpuSeconds: result.interpreterBootCpuSeconds,
  };
  const rows = [boot, ...programs].flatMap(({ name, cpuSeconds, interpreterCpuSeconds: alone }) =>
    alone === null
      ? []
      : [row([name, ...[cpuSeconds, alone, cpuSeconds / alone].map((value) => figure(value, 2))])],
  );
  return rows.length === 0
    ? []
    : [row(["cold code", "CPU s", "interpreter", "time ratio"]), ...rows];
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
  const processes = result.programs.filter((program) => program.kind === "debian");
  lines.push(...againLines(processes), ...interpreterLines(result, processes));
  if (result.bootSeconds !== null) lines.push(bootLine(result));
  return `${lines.join("\n")}\n`;
}
