/** The commands about agents and the machines that run: options and help. */
import { type Command, Option } from "commander";
import { configure } from "../command-help.ts";
import type { AgentOptions } from "./agent-command.ts";
import type { MigrateOptions } from "./migrate-command.ts";
import type { PairOptions } from "./pair-command.ts";
import type { SettleOptions, StopOptions } from "./vm-commands.ts";

/** Options of every command that talks to agents and named runs. */
interface Common {
  readonly json?: boolean;
  readonly stateDir?: string;
}

const NAME = "the machine's name, as `dejavm ps` shows it";

/** `setStatus` gets the exit status of the command that ran. */
export function addAgentCommands(program: Command, setStatus: (status: number) => void): void {
  addAgent(program);
  addPair(program);
  addPs(program);
  addConsole(program, setStatus);
  addSteering(program);
  addPort(program);
  addMigrate(program, setStatus);
}

function addAgent(program: Command): void {
  const agent = program
    .command("agent")
    .description("Run the agent: it has machines, and moves them to and from other agents")
    .option("--config <file>", "settings (default: $XDG_CONFIG_HOME/dejavm/agent.json)")
    .option("--name <name>", "what other agents call it (default: the host's name)")
    .option("--listen <address>", "HOST:PORT for other agents, or none (default: 0.0.0.0:7447)")
    .option("--advertise <address>", "what it tells other agents to dial")
    .option("--metrics <address>", "serve /metrics and /healthz there, without TLS")
    .option("--log-level <level>", "trace, debug, info (the default), warn or error")
    .option("--state-dir <path>", "where it keeps everything (default: $XDG_STATE_HOME/dejavm)")
    .action(async (options: AgentOptions) => {
      const { agent: action } = await import("./agent-command.ts");
      await action(options);
    })
    .addHelpText(
      "after",
      "\nExamples:\n  dejavm agent\n  dejavm agent --listen 10.0.0.5:7447 --metrics 127.0.0.1:9747",
    );
  configure(agent);
}

function addPair(program: Command): void {
  const pair = common(program.command("pair"))
    .argument("[address]", "HOST:PORT of the agent that gave the token out")
    .argument("[token]", "the token")
    .description("Make two agents know each other: without arguments, give out a token")
    .action(
      async (address: string | undefined, token: string | undefined, options: PairOptions) => {
        const { pair: action } = await import("./pair-command.ts");
        await action(address, token, options);
      },
    )
    .addHelpText(
      "after",
      `
Example:
  on host A:  dejavm pair
  on host B:  dejavm pair a.example:7447 dvm-AVt...`,
    );
  const peers = common(program.command("peers"))
    .description("List the agents that this host's agent is paired with")
    .option("--rm <name>", "forget that one instead")
    .action(async (options: Common & { readonly rm?: string }) => {
      const { peers: action } = await import("./pair-command.ts");
      await action(options);
    })
    .addHelpText("after", "\nExample:\n  dejavm peers --json");
  for (const command of [pair, peers]) configure(command);
}

function addPs(program: Command): void {
  const ps = common(program.command("ps"))
    .description("List machines: those of the agent and of named runs")
    .action(async (options: Common) => {
      const { ps: action } = await import("./vm-commands.ts");
      await action(options);
    })
    .addHelpText("after", "\nExample:\n  dejavm ps --json");
  configure(ps);
}

function addConsole(program: Command, setStatus: (status: number) => void): void {
  const console = common(program.command("console"))
    .argument("<name>", NAME)
    .description("Attach this terminal to a machine's console (Ctrl-A x detaches)")
    .action(async (name: string, options: Common) => {
      const { attachConsole } = await import("./console-command.ts");
      await attachConsole(name, options);
    })
    .addHelpText("after", "\nExample:\n  dejavm console web");
  const exec = common(program.command("exec"))
    .argument("<name>", NAME)
    .argument("<command...>", "shell command; its exit status is ours")
    .description("Run a command in a machine, with this command's standard input and output")
    .action(async (name: string, words: string[], options: Common) => {
      const { execIn } = await import("./console-command.ts");
      setStatus(await execIn(name, words.join(" "), options));
    })
    .addHelpText("after", "\nExample:\n  dejavm exec web 'redis-cli ping'");
  for (const command of [console, exec]) configure(command);
}

function addSteering(program: Command): void {
  const stop = common(program.command("stop"))
    .argument("<name>", NAME)
    .description("Switch a machine off: the guest is asked first")
    .option("--force", "do not ask the guest")
    .option("--timeout <seconds>", "how long the guest may take (default: 30)")
    .action(async (name: string, options: StopOptions) => {
      const { stop: action } = await import("./vm-commands.ts");
      await action(name, options);
    })
    .addHelpText("after", "\nExample:\n  dejavm stop web");
  configure(stop);
  const start = common(program.command("start"))
    .argument("<name>", NAME)
    .description("Let the agent bring back a machine: a stopped one, or one of `run --name`")
    .action(async (name: string, options: Common) => {
      const { start: action } = await import("./vm-commands.ts");
      await action(name, options);
    })
    .addHelpText("after", "\nExample:\n  dejavm start web");
  configure(start);
  const others = [
    ["pause", "Let a machine stand still"],
    ["resume", "Let a paused machine go on"],
    ["rm", "Forget a machine that has ended, and all that is kept of it"],
  ] as const;
  for (const [verb, description] of others) {
    const command = common(program.command(verb))
      .argument("<name>", NAME)
      .description(description)
      .action(async (name: string, options: Common) => {
        const { steer } = await import("./vm-commands.ts");
        await steer(verb, name, options);
      })
      .addHelpText("after", `\nExample:\n  dejavm ${verb} web`);
    configure(command);
  }
}

function addPort(program: Command): void {
  const port = program.command("port").description("Port forwards of a machine that runs");
  configure(port);
  const verbs = [
    ["add", "Forward a port of the host to the guest"],
    ["rm", "Forward it no longer; connections stay"],
  ] as const;
  for (const [verb, description] of verbs) {
    const command = common(port.command(verb))
      .argument("<name>", NAME)
      .argument("<forward>", "[HOSTIP:]HOSTPORT:GUESTPORT[/udp]")
      .description(description)
      .action(async (name: string, forward: string, options: Common) => {
        const { changePort } = await import("./vm-commands.ts");
        await changePort(verb, name, forward, options);
      })
      .addHelpText("after", `\nExample:\n  dejavm port ${verb} web 8080:80`);
    configure(command);
  }
  const list = common(port.command("ls"))
    .argument("<name>", NAME)
    .description("List what is forwarded")
    .action(async (name: string, options: Common) => {
      const { listPorts } = await import("./vm-commands.ts");
      await listPorts(name, options);
    })
    .addHelpText("after", "\nExample:\n  dejavm port ls web --json");
  configure(list);
}

function addMigrate(program: Command, setStatus: (status: number) => void): void {
  const migrate = common(program.command("migrate"))
    .argument("<name>", NAME)
    .requiredOption("--to <peer>", "the agent to move it to, as `dejavm peers` shows it")
    .option("--max-downtime <time>", "longest pause (default: 100ms)")
    .option("--min-speed <share>", "what the guest keeps of its speed (default: 50%)")
    .option("--bandwidth <rate>", "at most so much of the link, such as 50Mbit")
    .addOption(
      new Option("--if-not-converging <how>", "what to do then (default: slow)").choices([
        "slow",
        "copy",
        "cancel",
      ]),
    )
    .option("--dry-run", "do everything but the hand-over, for some seconds, and foretell the rest")
    .description("Move a machine to another host while it runs (Ctrl-C cancels)")
    .action(async (name: string, options: MigrateOptions) => {
      const { migrate: action } = await import("./migrate-command.ts");
      setStatus(await action(name, options));
    })
    .addHelpText("after", "\nExample:\n  dejavm migrate web --to paris --max-downtime 50ms");
  const settle = common(program.command("settle"))
    .argument("<name>", NAME)
    .addOption(new Option("--live-here", "it lives on this host").conflicts("liveThere"))
    .option("--live-there", "it lives on the host that it was offered to")
    .option("--peer-is-stopped", "the agent over there is stopped, and you will tell it the same")
    .description("Decide where a machine lives whose other host cannot be asked any more")
    .action(async (name: string, options: SettleOptions) => {
      const { settle: action } = await import("./vm-commands.ts");
      await action(name, options);
    })
    .addHelpText("after", "\nExample:\n  dejavm settle web --live-here --peer-is-stopped");
  configure(settle);
  const migrations = program.command("migrations").description("Migrations that have ended");
  const list = common(migrations.command("ls"))
    .description("List them, the newest first")
    .action(async (options: Common) => {
      const { migrations: action } = await import("./migrate-command.ts");
      await action(undefined, options);
    })
    .addHelpText("after", "\nExample:\n  dejavm migrations ls");
  const show = common(migrations.command("show"))
    .argument("<id>", "as `migrations ls` shows it")
    .description("Show one's report")
    .action(async (id: string, options: Common) => {
      const { migrations: action } = await import("./migrate-command.ts");
      await action(id, options);
    })
    .addHelpText("after", "\nExample:\n  dejavm migrations show 0123456789abcdef --json");
  for (const command of [migrate, migrations, list, show]) configure(command);
}

function common(command: Command): Command {
  return command
    .option("--json", "report on stdout as JSON")
    .option("--state-dir <path>", "the agent's state directory (default: $XDG_STATE_HOME/dejavm)");
}
