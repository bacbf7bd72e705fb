/**
 * The process in which a benchmark runs the machine:
 *
 *     machine-child program ELF MEMORY_MIB            prints a MachineMeasurement as JSON
 *     machine-child boot KERNEL INITRD MEMORY_MIB MARKER APPEND
 *                                                     ends when the console shows MARKER
 */
import { readFileSync } from "node:fs";
import {
  type BootConfig,
  Machine,
  type MachineConfig,
  position,
  type StopReason,
  ticks,
} from "@dejavm/machine";

/** As long as slices in the live loop: V8 replaces its baseline code only between calls. */
const SLICE = 1_000_000n;
const FOR_EVER = ticks((1n << 62n) - 1n);

function configuration(boot: BootConfig, memoryMib: string): MachineConfig {
  return {
    memoryBytes: Number(memoryMib) << 20,
    boot,
    disks: [],
    net: undefined,
    entropySeed: new Uint8Array(32),
    wallTimeNs: 1_700_000_000_000_000_000n,
  };
}

/** Runs until `done` says so, or the machine stops for another reason than its slice's end. */
function runUntil(machine: Machine, done: () => boolean): StopReason {
  for (;;) {
    const reason = machine.run(position(machine.position + SLICE), FOR_EVER);
    if (done() || reason.kind !== "budget") return reason;
  }
}

function consoleText(machine: Machine): string {
  let text = "";
  for (const { output } of machine.takeOutputs()) {
    if (output.kind === "console") text += Buffer.from(output.bytes).toString("latin1");
  }
  return text;
}

function runProgram(elf: string, memoryMib: string): void {
  const boot = { kind: "firmware", image: readFileSync(elf), commandLine: "" } as const;
  const machine = Machine.create(configuration(boot, memoryMib));
  const reason = runUntil(machine, () => false);
  const output = consoleText(machine).trim();
  if (reason.kind !== "power-off" || reason.status !== 0) {
    throw new Error(`the program stopped: ${reason.kind} at pc ${machine.pc.toString(16)}`);
  }
  const { user, system } = process.cpuUsage();
  const positions = Number(machine.position);
  process.stdout.write(JSON.stringify({ cpuSeconds: (user + system) / 1e6, positions, output }));
}

function boot(args: readonly string[]): void {
  const [kernel = "", initrd = "", memoryMib = "", marker = "", commandLine = ""] = args;
  const machine = Machine.create(
    configuration(
      {
        kind: "linux",
        kernel: readFileSync(kernel),
        initrd: readFileSync(initrd),
        commandLine,
      },
      memoryMib,
    ),
  );
  let seen = "";
  const reason = runUntil(machine, () => {
    seen += consoleText(machine);
    return seen.includes(marker);
  });
  if (!seen.includes(marker)) {
    throw new Error(`no "${marker}" on the console (${reason.kind}): ${seen.slice(-1000)}`);
  }
}

const [command, ...args] = process.argv.slice(2);
if (command === "program") runProgram(args[0] ?? "", args[1] ?? "");
else boot(args);
