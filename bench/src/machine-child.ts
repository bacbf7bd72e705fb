/**
 * The process in which a benchmark runs the machine:
 *
 *     machine-child program ELF MEMORY_MIB
 *                             prints a MachineMeasurement as JSON
 *     machine-child guest KERNEL INITRD MEMORY_MIB COMMAND_LINE DISK...
 *                             the guest's serial console is standard input and output, and it
 *                             runs as `dejavm run` would run it
 *
 * The environment says which tiers execute: DEJAVM_BENCH_ENGINE is `interpreter` or `auto`.
 */
import { readFileSync } from "node:fs";
import {
  type BootConfig,
  DEFAULT_POLICY,
  Machine,
  type MachineConfig,
  NO_JIT,
  position,
  type StopReason,
  ticks,
} from "@dejavm/machine";
import { dispatchHere, inspectDiskFile, setEngineFlags, VirtualMachine } from "@dejavm/vm";

/** As long as slices in the live loop: V8 replaces its baseline code only between calls. */
const SLICE = 1_000_000n;
setEngineFlags();

const engine = process.env["DEJAVM_BENCH_ENGINE"] === "interpreter" ? "interpreter" : "auto";
const FOR_EVER = ticks((1n << 62n) - 1n);

function configuration(boot: BootConfig, memoryMib: string): MachineConfig {
  return {
    memoryBytes: Number(memoryMib) * 2 ** 20,
    boot,
    disks: [],
    net: undefined,
    entropySeed: new Uint8Array(32),
    wallTimeNs: 1_700_000_000_000_000_000n,
  };
}

function runToEnd(machine: Machine): StopReason {
  for (;;) {
    const reason = machine.run(position(machine.position + SLICE), FOR_EVER);
    if (reason.kind !== "budget") return reason;
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
  const machine = Machine.create(configuration(boot, memoryMib), {
    jit: engine === "interpreter" ? NO_JIT : DEFAULT_POLICY,
    dispatch: dispatchHere(),
  });
  const reason = runToEnd(machine);
  const output = consoleText(machine).trim();
  if (reason.kind !== "power-off" || reason.status !== 0) {
    throw new Error(`the program stopped: ${reason.kind} at pc ${machine.pc.toString(16)}`);
  }
  const { user, system } = process.cpuUsage();
  const positions = Number(machine.position);
  process.stdout.write(JSON.stringify({ cpuSeconds: (user + system) / 1e6, positions, output }));
}

async function runGuest(args: readonly string[]): Promise<void> {
  const [kernel = "", initrd = "", memoryMib = "", commandLine = "", ...paths] = args;
  const disks = paths.map(inspectDiskFile);
  const boot: BootConfig = {
    kind: "linux",
    kernel: readFileSync(kernel),
    initrd: readFileSync(initrd),
    commandLine,
  };
  const config: MachineConfig = {
    ...configuration(boot, memoryMib),
    disks: disks.map(({ sizeBytes }) => ({ sizeBytes, readOnly: false, serial: "" })),
  };
  const vm = await VirtualMachine.start(
    {
      source: { kind: "create", config },
      disks,
      pace: "live",
      engine,
      limit: undefined,
      digestAtEnd: false,
    },
    {
      onConsole: (port, bytes) => {
        if (port === "uart") process.stdout.write(bytes);
      },
    },
  );
  process.stdin.on("data", (bytes: Buffer) => vm.sendConsole("uart", Uint8Array.from(bytes)));
  await vm.ended;
}

const [command, ...args] = process.argv.slice(2);
if (command === "program") runProgram(args[0] ?? "", args[1] ?? "");
else await runGuest(args);
