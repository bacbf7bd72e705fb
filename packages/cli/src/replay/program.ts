/** `dejavm replay`, `dejavm fork`, and what of `dejavm log` reads traces: options and help. */
import { type Command, Option } from "commander";
import { configure } from "../command-help.ts";
import type { LogOptions } from "../log/store-commands.ts";
import type { ForkCommandOptions, ReplayCommandOptions } from "./replay-command.ts";
import type { ReadOptions } from "./trace-commands.ts";

const NAME = "a machine's name or id, as `dejavm log ls` shows it";
const MOMENTS = `
Moments: a time since the guest was switched on (90s, 1.5m, 2h), a position (15e8), a share of what
is recorded (50%), or end.`;

/** `setStatus` gets the exit status of the command that ran. */
export function addReplayCommands(program: Command, setStatus: (status: number) => void): void {
  const replay = common(program.command("replay"))
    .argument("<name>", NAME)
    .option("--until <moment>", "stop there (default: end)")
    .option("--console", "show what the guest said, from the oldest checkpoint on")
    .option("--verify", "compare every digest that was recorded, from the oldest checkpoint on")
    .option("--against <name>", "where it goes another way: find the step by this recording")
    .addOption(engineOption())
    .description("Do again what a machine has recorded, and compare")
    .action(async (name: string, options: ReplayCommandOptions) => {
      const { replay: action } = await import("./replay-command.ts");
      setStatus(await action(name, options));
    })
    .addHelpText(
      "after",
      `${MOMENTS}

Examples:
  dejavm replay web --verify
  dejavm replay web --console --until 2m`,
    );
  const fork = common(program.command("fork"))
    .argument("<name>", NAME)
    .requiredOption("--at <moment>", "where the new machine begins")
    .option("--name <name>", "of the new machine (default: NAME-fork, NAME-fork-2, ...)")
    .addOption(engineOption())
    .description("Make a new machine of a recorded moment: other randomness, no network cable")
    .action(async (name: string, options: ForkCommandOptions) => {
      const { fork: action } = await import("./replay-command.ts");
      setStatus(await action(name, options));
    })
    .addHelpText(
      "after",
      `${MOMENTS}

Examples:
  dejavm fork web --at 90s --name web-before && dejavm run --name web-before
  dejavm run --name web-before --net user      plugs the cable in`,
    );
  for (const command of [replay, fork]) configure(command);
}

/** The commands of `dejavm log` that read traces. */
export function addTraceCommands(log: Command, setStatus: (status: number) => void): void {
  const events = common(log.command("events"))
    .argument("<name>", NAME)
    .description("Print what came to the guest, and the rest of its trace, as JSON lines")
    .action(async (name: string, options: LogOptions) => {
      const { events: action } = await import("./trace-commands.ts");
      setStatus(await action(name, options));
    })
    .addHelpText("after", "\nExample:\n  dejavm log events web | head");
  const cast = reading(log.command("console"))
    .description("Write the console as an asciinema v2 cast (replays the machine)")
    .action(async (name: string, file: string, options: ReadOptions) => {
      const { castConsole } = await import("./trace-commands.ts");
      setStatus(await castConsole(name, file, options));
    })
    .addHelpText(
      "after",
      "\nExample:\n  dejavm log console web web.cast && asciinema play web.cast",
    );
  const pcap = reading(log.command("pcap"))
    .description("Write the guest's frames as pcapng, with positions (replays the machine)")
    .action(async (name: string, file: string, options: ReadOptions) => {
      const { capture } = await import("./trace-commands.ts");
      setStatus(await capture(name, file, options));
    })
    .addHelpText("after", "\nExample:\n  dejavm log pcap web web.pcapng && tcpdump -r web.pcapng");
  for (const command of [events, cast, pcap]) configure(command);
}

function reading(command: Command): Command {
  return common(command)
    .argument("<name>", NAME)
    .argument("<file>", "file to write; - is standard output")
    .option("--until <moment>", "stop there (default: end)")
    .option("--force", "write over a file that is there")
    .addOption(engineOption());
}

function common(command: Command): Command {
  return command
    .option("--json", "report on stdout as JSON")
    .option("--state-dir <path>", "where it all is (default: $XDG_STATE_HOME/dejavm)");
}

function engineOption(): Option {
  return new Option("--engine <how>", "as of `dejavm run`").choices(["auto", "interpreter", "jit"]);
}
