/** `dejavm log`: the commands about recorded machines, their options and help. */
import type { Command } from "commander";
import { configure } from "../command-help.ts";
import type { ExportOptions, ImportOptions, LogOptions } from "./store-commands.ts";

const NAME = "a machine's name or id, as `dejavm log ls` shows it";

/** `setStatus` gets the exit status of the command that ran. */
export function addLogCommands(program: Command, setStatus: (status: number) => void): Command {
  const log = program.command("log").description("Look after what machines have recorded");
  configure(log);
  addLists(log);
  addCare(log, setStatus);
  addFiles(log, setStatus);
  return log;
}

function addLists(log: Command): void {
  const list = common(log.command("ls"))
    .description("List recorded machines: where they live, their trace, what they take up")
    .action(async (options: LogOptions) => {
      const { list: action } = await import("./store-commands.ts");
      action(options);
    })
    .addHelpText("after", "\nExample:\n  dejavm log ls --json");
  const show = common(log.command("show"))
    .argument("<name>", NAME)
    .description("Show one machine's trace, checkpoints, ownership and reports")
    .action(async (name: string, options: LogOptions) => {
      const { show: action } = await import("./store-commands.ts");
      action(name, options);
    })
    .addHelpText("after", "\nExamples:\n  dejavm log show web\n  dejavm log show web --json");
  const remove = common(log.command("rm"))
    .argument("<name...>", NAME)
    .description("Forget machines and all that they have recorded; they must not be running")
    .action(async (names: string[], options: LogOptions) => {
      const { remove: action } = await import("./store-commands.ts");
      action(names, options);
    })
    .addHelpText("after", "\nExample:\n  dejavm log rm web && dejavm log gc");
  for (const command of [list, show, remove]) configure(command);
}

function addCare(log: Command, setStatus: (status: number) => void): void {
  const verify = common(log.command("verify"))
    .description("Check every checksum, hash and chain; ends with 1 if anything is damaged")
    .action(async (options: LogOptions) => {
      const { verify: action } = await import("./store-commands.ts");
      setStatus(await action(options));
    })
    .addHelpText("after", "\nExample:\n  dejavm log verify --json");
  const gc = common(log.command("gc"))
    .description("Free what no checkpoint needs any more (also while machines run)")
    .action(async (options: LogOptions) => {
      const { gc: action } = await import("./store-commands.ts");
      setStatus(await action(options));
    })
    .addHelpText("after", "\nExample:\n  dejavm log gc");
  for (const command of [verify, gc]) configure(command);
}

function addFiles(log: Command, setStatus: (status: number) => void): void {
  const exports = common(log.command("export"))
    .argument("<name>", NAME)
    .argument("<file>", "file to write; - is standard output")
    .option("--force", "write over a file that is there")
    .description("Write a machine's whole record as one file, which may hold secrets")
    .action(async (name: string, file: string, options: ExportOptions) => {
      const { exportTo } = await import("./store-commands.ts");
      setStatus(await exportTo(name, file, options));
    })
    .addHelpText(
      "after",
      `
The file holds the machine's memory, disks and input: passwords and keys among them. It is
readable by its owner only.

Examples:
  dejavm log export web web.dejavm
  dejavm log export web - | ssh backup 'cat > web.dejavm'`,
    );
  const imports = common(log.command("import"))
    .argument("<file>", "file that `dejavm log export` wrote")
    .option("--name <name>", "call the machine that (default: as it was called)")
    .description("Take in an exported machine as a copy: to replay and fork, not to run")
    .action(async (file: string, options: ImportOptions) => {
      const { importFrom } = await import("./store-commands.ts");
      setStatus(await importFrom(file, options));
    })
    .addHelpText("after", "\nExample:\n  dejavm log import web.dejavm --name web-yesterday");
  for (const command of [exports, imports]) configure(command);
}

function common(command: Command): Command {
  return command
    .option("--json", "report on stdout as JSON")
    .option("--state-dir <path>", "where it all is (default: $XDG_STATE_HOME/dejavm)");
}
