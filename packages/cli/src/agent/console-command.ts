/** `dejavm console` and `dejavm exec`: this terminal, or pipe, at a machine that runs elsewhere. */
import { once } from "node:events";
import { failureOf, findVmNamed, startCommand, stateDirectory, toBytes } from "@dejavm/agent";
import { EscapeParser } from "../run/escape.ts";
import { hostTerminal, writeFully } from "../run/terminal.ts";

/** Options of both. */
export interface AttachOptions {
  readonly stateDir?: string;
}

const DETACH_HELP = "Ctrl-A x  detach\nCtrl-A a  send Ctrl-A itself\nCtrl-A h  this help";

/** Ends with Ctrl-A x, with the end of standard input, or with the machine's process. */
export async function attachConsole(name: string, options: AttachOptions): Promise<void> {
  const { client } = await findVmNamed(stateDirectory(options.stateDir), name);
  const stream = await client.stream(`/v1/vms/${name}/console`);
  const terminal = hostTerminal(process.stdout);
  const escape = new EscapeParser();
  const detach = (): void => stream.close();
  stream.on("message", (data, binary) => {
    if (binary) void terminal.write(toBytes(data));
  });
  terminal.open((bytes) => {
    if (!terminal.interactive) {
      stream.send(bytes);
      return;
    }
    for (const typed of escape.push(bytes)) {
      if (typed.kind === "bytes") stream.send(typed.bytes);
      else if (typed.command === "quit") detach();
      else terminal.notice(DETACH_HELP);
    }
  });
  if (terminal.interactive) terminal.notice(`console of ${name}; Ctrl-A x detaches`);
  const failure = failureOf(stream);
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.once(signal, detach);
  await once(stream, "close");
  terminal.close();
  const error = failure();
  if (error !== undefined) throw error;
}

/** Gives the command's status. Throws E_EXEC_*, E_GUEST_ENDED, E_VM_*. */
export async function execIn(
  name: string,
  command: string,
  options: AttachOptions,
): Promise<number> {
  const { client } = await findVmNamed(stateDirectory(options.stateDir), name);
  const running = await startCommand(client, name, command, (which, bytes) => {
    void writeFully(process[which], bytes);
  });
  // A terminal's keys stay ours: commands get input from pipes and files only.
  if (process.stdin.isTTY) running.stdin(undefined);
  else {
    process.stdin.on("data", (bytes: Buffer) => running.stdin(bytes));
    process.stdin.on("end", () => running.stdin(undefined));
  }
  return running.status;
}
