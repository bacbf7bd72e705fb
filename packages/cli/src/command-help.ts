/** What every command of the program has in common. */
import { type Command, Option } from "commander";

/** Errors of the command line look like all others. */
export function configure(command: Command): void {
  command.exitOverride().configureOutput({
    outputError: (text, write) => {
      const message =
        text
          .replace(/^error: /, "")
          .trim()
          .split("\n")[0] ?? "";
      write(`dejavm: E_USAGE ${message}\n  hint: see '${pathOf(command)} --help'\n`);
    },
  });
}

/** An option that may be given several times; its value is the list of what was given. */
export function repeatable(flags: string, description: string): Option {
  const collect = (value: string, previous: readonly string[]): string[] => [...previous, value];
  return new Option(flags, description).default([], "none").argParser(collect);
}

function pathOf(command: Command): string {
  const parent = command.parent;
  return parent === null ? command.name() : `${pathOf(parent)} ${command.name()}`;
}
