/** The options of `dejavm run` as commander gives them, and which exclude each other. Pure. */
import type { EngineName } from "@dejavm/vm";
import { usageError } from "../errors.ts";

/** What the guest's network card is connected to. */
export interface NetworkOptions {
  /** `user`, `none` or `stream:...`. */
  readonly net?: string;
  readonly publish?: readonly string[];
  readonly netAllow?: readonly string[];
  readonly netDeny?: readonly string[];
  readonly pcap?: string;
  readonly dns?: readonly string[];
}

/** Texts as they were given; undefined: not given. */
export interface RunOptions extends NetworkOptions {
  /** What the machine is called by other commands. */
  readonly name?: string;
  readonly durable?: boolean;
  /** Seconds of execution. */
  readonly replayLimit?: string;
  readonly detach?: boolean;
  /** Of the agent that is to run it. */
  readonly stateDir?: string;
  /** False: `--no-record` was given. */
  readonly record?: boolean;
  readonly memory?: string;
  readonly disk: readonly string[];
  readonly kernel?: string;
  readonly initrd?: string;
  readonly append?: string;
  readonly firmware?: string;
  readonly elf?: string;
  readonly exec?: string;
  readonly from?: string;
  readonly save?: string;
  readonly maxInstructions?: string;
  readonly pace?: "live" | "none";
  readonly engine?: EngineName;
  readonly engineStats?: boolean;
  /** File for a profile of the guest. */
  readonly profile?: string;
  /** System.map or kallsyms for the profile. */
  readonly symbols?: string;
  readonly seed?: string;
  readonly wallTime?: string;
  readonly json?: boolean;
  readonly verbose?: boolean;
  /** False: `--no-reboot` was given. */
  readonly reboot?: boolean;
}

/** What the machine is made from. */
export type BootSource = "image" | "kernel" | "firmware" | "elf" | "snapshot";

/** Which source the options name; E_USAGE where they contradict each other. */
export function bootSource(image: string | undefined, options: RunOptions): BootSource {
  const { elf, from, firmware, kernel } = options;
  if (elf !== undefined) {
    refuse("--elf", { IMAGE: image, "--from": from, "--kernel": kernel, "--firmware": firmware });
    refuse("--elf", { "--initrd": options.initrd, "--exec": options.exec });
    return "elf";
  }
  if (from !== undefined) {
    const { memory, initrd, append, seed, wallTime } = options;
    refuse("--from", { IMAGE: image, "--kernel": kernel, "--firmware": firmware });
    refuse("--from", { "--initrd": initrd, "--append": append, "--memory": memory });
    refuse("--from", { "--seed": seed, "--wall-time": wallTime });
    return "snapshot";
  }
  if (firmware !== undefined) {
    refuse("--firmware", { IMAGE: image });
    return "firmware";
  }
  if (kernel !== undefined) {
    refuse("--kernel", { IMAGE: image });
    return "kernel";
  }
  if (options.initrd !== undefined) {
    throw usageError("cannot use --initrd alone", "give --kernel FILE, too");
  }
  return "image";
}

/** E_USAGE where one of `others`, by their names, is there beside `option`. */
export function refuse(option: string, others: Readonly<Record<string, string | undefined>>): void {
  for (const [name, value] of Object.entries(others)) {
    if (value === undefined) continue;
    throw usageError(`cannot use ${name} together with ${option}`, `leave one of them away`);
  }
}
