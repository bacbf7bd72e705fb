/** The command line of `dejavm`: sub-commands, options, help. Commands are loaded when called. */
import { readFileSync } from "node:fs";
import { Argument, Command, Option } from "commander";
import { addAgentCommands } from "./agent/program.ts";
import type {
  BenchEngineOptions,
  BenchNetworkOptions,
  CancelBenchCommand,
  MigrateBenchCommand,
  RecordBenchCommand,
} from "./bench-command.ts";
import { configure, repeatable } from "./command-help.ts";
import type { DemoOptions } from "./demo/migration-demo.ts";
import { addLogCommands } from "./log/program.ts";
import { addReplayCommands, addTraceCommands } from "./replay/program.ts";
import type { RunOptions } from "./run/options.ts";
import type { WanOptions } from "./wan-command.ts";

const STATUSES = `
Exit status:
  0  success; of a guest: it switched itself off without a complaint
  1  an error, told on stderr with its code, as docs/errors.md lists them
  2  the command line is wrong
  3  --max-instructions was reached
  other: the guest's own (--exec, --elf), 128 and a number: ended by that signal`;

/** `setStatus` gets the exit status of the command that ran. */
export function makeProgram(setStatus: (status: number) => void): Command {
  const program = new Command("dejavm")
    .description("A deterministic RISC-V virtual machine that boots stock Debian.")
    .version(version(), "-V, --version", "print the version")
    .helpOption("-h, --help", "print this help")
    .configureHelp({ showGlobalOptions: false })
    .addHelpText(
      "after",
      `
Examples:
  dejavm image build                  make the default Debian image
  dejavm run                          boot it, console on this terminal
  dejavm run --exec 'uname -a'        run one command in it
  dejavm run --elf program.elf        run a bare-metal program
${STATUSES}`,
    );
  configure(program);
  addRun(program, setStatus);
  addImage(program);
  addAgentCommands(program, setStatus);
  addWan(program);
  addTraceCommands(addLogCommands(program, setStatus), setStatus);
  addReplayCommands(program, setStatus);
  addBench(program, setStatus);
  addDemo(program, setStatus);
  return program;
}

function addRun(program: Command, setStatus: (status: number) => void): void {
  const command = program
    .command("run")
    .argument("[image]", "image to boot (default: debian)")
    .description("Run a machine with its console on this terminal (Ctrl-A h: keys)")
    .option("--name <name>", "record it under this name, or bring the machine of that name back")
    .option("-d, --detach", "with --name: let the agent of this host run it")
    .option("--state-dir <path>", "with --detach: the agent's state directory")
    .option("--durable", "with --name: nothing leaves before it survives a loss of power")
    .option("--replay-limit <seconds>", "with --name: replay at most so much (default: 10)")
    .option("--no-record", "keep nothing, whatever the name")
    .option("-m, --memory <size>", "RAM, with K, M or G (default: 256M)")
    .addOption(repeatable("--disk <file>", "further disk; never written, repeatable"))
    .option("--kernel <file>", "boot this Linux kernel instead of an image")
    .option("--initrd <file>", "initramfs for --kernel")
    .option("--append <text>", "kernel command line; is added to an image's own")
    .option("--firmware <file>", "M-mode firmware (ELF or flat) instead of the built-in SBI")
    .option("--elf <file>", "run a bare-metal program; its exit status is ours")
    .option("--exec <command>", "run a shell command in the guest; its exit status is ours")
    .option("--net <how>", "user (the default of images), none, or a helper at stream:PATH")
    .addOption(
      repeatable("-p, --publish <forward>", "[HOSTIP:]HOSTPORT:GUESTPORT[/udp], repeatable"),
    )
    .addOption(repeatable("--net-allow <rule>", "let the guest reach ADDRESS[:PORT], repeatable"))
    .addOption(repeatable("--net-deny <rule>", "forbid it; comes before what is allowed"))
    .addOption(repeatable("--dns <address>", "DNS server for the guest: HOST[:PORT], repeatable"))
    .option("--pcap <file>", "capture the guest's frames in a file")
    .option("--max-instructions <n>", "stop after so many instructions and traps, status 3")
    .option("--save <file>", "save a snapshot when we end the machine, or on Ctrl-A s")
    .option("--from <file>", "go on from a snapshot")
    .addOption(
      new Option(
        "--pace <how>",
        "virtual time follows the wall (live) or positions (none)",
      ).choices(["live", "none"]),
    )
    .addOption(
      new Option(
        "--engine <how>",
        "translate hot code (auto, the default), nothing (interpreter) or all (jit: for " +
          "comparisons, Debian boots in minutes)",
      ).choices(["auto", "interpreter", "jit"]),
    )
    .option("--engine-stats", "say at the end what each tier did; with --json in the report")
    .option("--profile <file>", "write a profile of the guest's functions (.cpuprofile)")
    .option("--symbols <file>", "names for --profile: a System.map, or the guest's /proc/kallsyms")
    .option("--seed <text>", "entropy of the guest, for runs that repeat (default: random)")
    .option("--wall-time <when>", "date at power-on, ISO 8601 (default: now)")
    .option("--no-reboot", "end when the guest restarts (--exec and --elf always do)")
    .option("--json", "report on stdout; the guest's output goes to stderr")
    .option("--verbose", "with --exec: show the guest's console on stderr")
    .action(async (image: string | undefined, options: RunOptions) => {
      if (options.detach === true) {
        const { runDetached } = await import("./agent/detach-command.ts");
        await runDetached(image, options);
        return;
      }
      const { run } = await import("./run/run.ts");
      setStatus(await run(image, options));
    })
    .addHelpText(
      "after",
      `
Examples:
  dejavm run --memory 1G
  dejavm run --exec 'redis-server --version'
  dejavm run -p 6379:6379 --exec 'redis-server --protected-mode no'
  dejavm run --kernel Image --initrd initrd.gz --append 'console=ttyS0'
  dejavm run --elf tests/rv64ui-p-add --max-instructions 1e6 --json
  dejavm run --save debian.snapshot      end with Ctrl-A x, then go on with
  dejavm run --from debian.snapshot
  dejavm run --name web -p 8080:80       the next time \`run --name web\` is enough
${STATUSES}`,
    );
  configure(command);
}

function addImage(program: Command): void {
  const image = program.command("image").description("Make, list and remove guest images");
  configure(image);
  const build = image
    .command("build")
    .description("Make an image from Debian riscv64 packages (does nothing if it is there)")
    .option("--name <name>", "name of the image (default: debian)")
    .addOption(repeatable("--package <name>", "further Debian package, repeatable"))
    .option("--json", "report on stdout")
    .action(async (options: { name?: string; package: string[]; json?: boolean }) => {
      const { build: action } = await import("./image-command.ts");
      await action(options);
    })
    .addHelpText(
      "after",
      "\nExamples:\n  dejavm image build\n  dejavm image build --name web --package nginx-light",
    );
  const list = image
    .command("ls")
    .description("List images")
    .option("--json", "report on stdout")
    .action(async (options: { json?: boolean }) => {
      const { list: action } = await import("./image-command.ts");
      await action(options);
    })
    .addHelpText("after", "\nExample:\n  dejavm image ls --json");
  const remove = image
    .command("rm")
    .argument("<name...>", "images to remove")
    .description("Remove images")
    .action(async (names: string[]) => {
      const { remove: action } = await import("./image-command.ts");
      await action(names);
    })
    .addHelpText("after", "\nExample:\n  dejavm image rm debian");
  for (const command of [build, list, remove]) configure(command);
}

function addWan(program: Command): void {
  const wan = program
    .command("wan")
    .description("A wide-area path on this host: delay, rate, queue, stalls and cuts for TCP")
    .requiredOption("--listen <address>", "HOST:PORT (port 0: any), or unix:PATH")
    .requiredOption("--to <address>", "where it leads: HOST:PORT or unix:PATH")
    .option(
      "--profile <name>",
      "metro, continental, intercontinental or a JSON file",
      "continental",
    )
    .option("--seed <number>", "decides jitter and which segments stall (default: random)")
    .option("--json", "a line of JSON on stdout for each thing to tell")
    .action(async (options: WanOptions) => {
      const { wan: action } = await import("./wan-command.ts");
      await action(options);
    })
    .addHelpText(
      "after",
      `
Standard input takes lines: \`stats\`, or a step such as {"do":"cut","forMs":1000}.

Examples:
  dejavm wan --listen 127.0.0.1:7001 --to 127.0.0.1:7000 --profile intercontinental
  dejavm wan --listen unix:wan.sock --to unix:target.sock --profile lossy.json --json`,
    );
  configure(wan);
}

function addBench(program: Command, setStatus: (status: number) => void): void {
  const bench = program.command("bench").description("Measure the machine beside QEMU");
  configure(bench);
  const engine = bench
    .command("engine")
    .description("Speed of fixed guest programs and of a Debian boot, beside QEMU's TCG")
    .option("--rounds <n>", "measure each program so many times; the median counts")
    .option("--programs <names>", "only these, separated by commas; boot, bare, debian go, too")
    .option("--no-icount", "leave out QEMU with exact counting")
    .option("--interpreter", "measure boot and processes without translation, too")
    .option("--again", "run each process a second time: what warming up takes")
    .addOption(
      new Option("--engine <how>", "what executes")
        .choices(["auto", "interpreter"])
        .default("auto"),
    )
    .option("--json", "report on stdout")
    .action(async (options: BenchEngineOptions) => {
      const { benchEngine } = await import("./bench-command.ts");
      setStatus(await benchEngine(options));
    })
    .addHelpText("after", "\nExample:\n  dejavm bench engine --json");
  configure(engine);
  const network = bench
    .command("network")
    .description("The guest's network, beside QEMU's user network inside and outside of QEMU")
    .option("--rounds <n>", "measure each row so many times (default: 20)")
    .addOption(repeatable("--row <name>", "only this row, repeatable"))
    .option("--quick", "a quarter of the rounds")
    .option("--json", "report on stdout")
    .action(async (options: BenchNetworkOptions) => {
      const { benchNetwork } = await import("./bench-command.ts");
      setStatus(await benchNetwork(options));
    })
    .addHelpText("after", "\nExample:\n  dejavm bench network --row download --json");
  configure(network);
  const migrate = bench
    .command("migrate")
    .description("Move a guest under load through the WAN rig, and watch its clients")
    .addOption(repeatable("--workload <name>", "only idle, cpu, redis or dirty, repeatable"))
    .addOption(repeatable("--profile <name>", "only that WAN profile, repeatable"))
    .addOption(repeatable("--mode <name>", "only that mode of QEMU, repeatable"))
    .option("--vs <system>", "measure qemu, too")
    .option("--reports <folder>", "keep what each move reports, as JSON")
    .option("--json", "report on stdout")
    .action(async (options: MigrateBenchCommand) => {
      const { benchMigrate } = await import("./bench-command.ts");
      setStatus(await benchMigrate(options));
    })
    .addHelpText(
      "after",
      "\nExample:\n  dejavm bench migrate --vs qemu --workload redis --profile intercontinental",
    );
  configure(migrate);
  const cancel = bench
    .command("cancel")
    .description("Cancel a guest's migration in each phase, and see how it goes on")
    .addOption(repeatable("--workload <name>", "only idle, cpu or dirty, repeatable"))
    .option("--profile <name>", "WAN profile", "intercontinental")
    .option("--rounds <n>", "cancels in each phase", "3")
    .option("--json", "report on stdout")
    .action(async (options: CancelBenchCommand) => {
      const { benchCancel } = await import("./bench-command.ts");
      setStatus(await benchCancel(options));
    })
    .addHelpText("after", "\nExample:\n  dejavm bench cancel --workload cpu --profile metro");
  configure(cancel);
  const record = bench
    .command("record")
    .description("What recording costs: pairs of runs, recorded and not, and their replays")
    .option("--pairs <n>", "pairs of runs of each workload; the median counts (default: 11)")
    .addOption(repeatable("--workload <name>", "only idle, cpu or network, repeatable"))
    .option("--debian", "a Debian, the store beside it (the default)")
    .option("--bare", "guests of a few instructions instead: compute, memory or answers")
    .option("--vs <other>", "qemu: beside the record/replay of QEMU")
    .option("--json", "report on stdout")
    .action(async (options: RecordBenchCommand) => {
      const { benchRecord } = await import("./bench-command.ts");
      setStatus(await benchRecord(options));
    })
    .addHelpText("after", "\nExample:\n  dejavm bench record --pairs 3 --vs qemu --json");
  configure(record);
}

function addDemo(program: Command, setStatus: (status: number) => void): void {
  const demo = program
    .command("demo")
    .addArgument(
      new Argument("[what]", "what to show").choices(["migration", "machine"]).default("migration"),
    )
    .description("Move a Debian under load between two agents over a WAN: ends 0 if all holds")
    .option("--profile <name>", "the WAN: see `dejavm wan`", "intercontinental")
    .option("--keep", "leave it running until Ctrl-C")
    .action(async (what: "migration" | "machine", options: DemoOptions) => {
      if (what === "machine") {
        const { demo: action } = await import("./demo/machine-demo.ts");
        setStatus(await action());
        return;
      }
      const { migrationDemo } = await import("./demo/migration-demo.ts");
      setStatus(await migrationDemo(options));
    })
    .addHelpText("after", "\nExamples:\n  dejavm demo\n  dejavm demo machine");
  configure(demo);
}

function version(): string {
  const text = readFileSync(new URL("../package.json", import.meta.url), "utf8");
  const parsed: unknown = JSON.parse(text);
  const known = typeof parsed === "object" && parsed !== null && "version" in parsed;
  return known ? String(parsed.version) : "unknown";
}
