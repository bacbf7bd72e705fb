/** Machines of `run --name`: made under a name, or brought back by it. */
import { assert } from "@dejavm/base";
import {
  createNamedVm,
  findNamedVm,
  type NamedVmOptions,
  resumeNamedVm,
  type VmConfig,
} from "@dejavm/source-agent";
import { fingerprint, VirtualMachine, type VirtualMachineEvents } from "@dejavm/vm";
import { usageError } from "../errors.ts";
import { openStore } from "../store.ts";
import { type NetworkOptions, type RunOptions, refuse } from "./options.ts";
import { type NetworkPlan, planNetwork, planRun, type RunPlan } from "./plan.ts";

const MAX_REPLAY_LIMIT_S = 86_400;

/** A machine to be started, by whatever way. */
export interface Starter extends Pick<RunPlan, "image" | "keyboard" | "memoryBytes"> {
  readonly network: NetworkPlan | undefined;
  start(events: VirtualMachineEvents, onNotice: (line: string) => void): Promise<Started>;
}

/** A machine that runs; `close` when it has ended. */
export interface Started {
  readonly vm: VirtualMachine;
  close(): void;
}

/** Throws what `planRun` and the store throw, and E_USAGE. */
export async function planStart(image: string | undefined, options: RunOptions): Promise<Starter> {
  const { name, record, durable } = options;
  if (name === undefined || record === false) {
    if (durable === true) throw usageError("cannot use --durable without a name", "give --name");
    return plainStart(await planRun(image, options));
  }
  refuse("--name", { "--from": options.from });
  const store = openStore();
  try {
    const found = findNamedVm(store, name);
    const usual = { store, name, ...replayLimit(options) };
    if (found !== undefined) return resuming(usual, found.config, image, options);
    return creating(usual, await planRun(image, options), options);
  } catch (error) {
    store.close();
    throw error;
  }
}

function plainStart(plan: RunPlan): Starter {
  return {
    ...plan,
    start: async (events) => {
      const vm = await VirtualMachine.start(plan.spec, events);
      return { vm, close: () => undefined };
    },
  };
}

type Usual = Pick<NamedVmOptions, "store" | "name" | "replayLimitMs">;

function replayLimit({ replayLimit: text }: RunOptions): Pick<NamedVmOptions, "replayLimitMs"> {
  if (text === undefined) return {};
  const seconds = Number(text);
  if (seconds > 0 && seconds <= MAX_REPLAY_LIMIT_S) return { replayLimitMs: seconds * 1000 };
  throw usageError(`cannot use --replay-limit ${text}`, "want seconds above 0, at most a day");
}

function resuming(
  usual: Usual,
  config: VmConfig,
  image: string | undefined,
  options: RunOptions,
): Starter {
  const what = `--name ${usual.name}, a machine that is there already`;
  const { memory, kernel, initrd, append, firmware, elf, seed, wallTime } = options;
  refuse(what, { IMAGE: image, "--memory": memory, "--kernel": kernel, "--initrd": initrd });
  refuse(what, { "--append": append, "--firmware": firmware, "--elf": elf, "--seed": seed });
  refuse(what, { "--wall-time": wallTime, "--disk": options.disk[0], "--pace": options.pace });
  refuse(what, { "--max-instructions": options.maxInstructions });
  const { image: imageName, keyboard, memoryBytes, mac, note } = config;
  return {
    image: imageName,
    keyboard,
    memoryBytes,
    network:
      mac === undefined
        ? undefined
        : planNetwork(networkOptions(note, options), { usual: true, guestMac: mac }),
    start: async (events, onNotice) => {
      const { vm, recorded } = await resumeNamedVm({
        ...usual,
        spec: runSpec(options),
        events,
        onNotice,
      });
      return { vm, close: () => closeAll(recorded, usual) };
    },
  };
}

function creating(usual: Usual, plan: RunPlan, options: RunOptions): Starter {
  const { source } = plan.spec;
  assert(source.kind === "create", "a machine with a name is switched on");
  const { memoryBytes, net, disks, entropySeed, wallTimeNs } = source.config;
  return {
    ...plan,
    start: async (events, onNotice) => {
      const sha256 = await Promise.all(plan.spec.disks.map(({ path }) => fingerprint(path)));
      const config: VmConfig = {
        image: plan.image,
        keyboard: plan.keyboard,
        memoryBytes,
        disks: disks.map((disk, i) => ({
          ...disk,
          path: plan.spec.disks[i]?.path ?? "",
          sha256: sha256[i] ?? new Uint8Array(0),
        })),
        mac: net?.mac,
        boot: plan.boot,
        pace: plan.spec.pace,
        restarts: plan.spec.restart !== undefined,
        durable: options.durable === true,
        originNs: BigInt(Date.now()) * 1_000_000n,
        note: JSON.stringify(networkOf(options)),
      };
      const { spec } = plan;
      const { vm, recorded } = await createNamedVm({ ...usual, spec, events, onNotice }, config, {
        entropySeed,
        wallTimeNs,
      });
      return { vm, close: () => closeAll(recorded, usual) };
    },
  };
}

function closeAll(recorded: { close(): void }, { store }: Usual): void {
  recorded.close();
  store.close();
}

function runSpec({ engine, json }: RunOptions): NamedVmOptions["spec"] {
  return { engine: engine ?? "auto", limit: undefined, digestAtEnd: json === true };
}

/** As they were given, to be kept with the machine. */
function networkOf({ net, publish, netAllow, netDeny, pcap }: NetworkOptions) {
  return { net, publish, netAllow, netDeny, pcap };
}

/** What is given now, or else what the machine was made with. */
function networkOptions(note: string, now: RunOptions): NetworkOptions {
  const given = Object.values(networkOf(now)).some((value) => {
    return value !== undefined && !(Array.isArray(value) && value.length === 0);
  });
  if (given) return now;
  return keptOptions(note);
}

function keptOptions(note: string): NetworkOptions {
  const kept: unknown = JSON.parse(note);
  if (typeof kept !== "object" || kept === null) return {};
  const text = (value: unknown): string | undefined =>
    typeof value === "string" ? value : undefined;
  const texts = (value: unknown): string[] =>
    Array.isArray(value) ? value.filter((item) => typeof item === "string") : [];
  const values = new Map<string, unknown>(Object.entries(kept));
  const net = text(values.get("net"));
  const pcap = text(values.get("pcap"));
  return {
    ...(net === undefined ? {} : { net }),
    ...(pcap === undefined ? {} : { pcap }),
    publish: texts(values.get("publish")),
    netAllow: texts(values.get("netAllow")),
    netDeny: texts(values.get("netDeny")),
  };
}
