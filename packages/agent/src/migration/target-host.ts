/** What this agent says to machines that other agents offer, and what becomes of those it takes. */
import { statfsSync } from "node:fs";
import { freemem } from "node:os";
import { assert, CodedError } from "@dejavm/base";
import { parseForward } from "@dejavm/gateway";
import type { BootConfig } from "@dejavm/machine";
import type { ControlMessageOf } from "@dejavm/protocol";
import {
  basesOf,
  bootHasher,
  decodeVmConfig,
  encodeVmConfig,
  loadBoot,
  RecordedVm,
  restoreConfigOf,
  type VmConfig,
} from "@dejavm/source-agent";
import {
  offerRefusal,
  type ReplayingMachine,
  type TakenMachine,
  type TargetHost,
  type Verdict,
} from "@dejavm/target-agent";
import { checkFingerprint, decodeTraceHeader, fingerprintOf } from "@dejavm/trace";
import {
  inspectDiskFile,
  prepareThread,
  VirtualMachine,
  type VmReport,
  type VmRequest,
} from "@dejavm/vm";
import { agentError } from "../errors.ts";
import { AgentVm, VmEvents, type VmHost } from "../vm/agent-vm.ts";
import { configHere, networkNote } from "../vm/machine-config.ts";
import { VmNetwork } from "../vm/vm-network.ts";
import type { TunnelDesk } from "./tunnel-desk.ts";

type Offer = ControlMessageOf<"offer">;
type Checkpoint = ControlMessageOf<"checkpoint">;

/** What the agent knows beyond its store. */
export interface IncomingHost extends VmHost {
  readonly agentName: string;
  readonly stateDir: string;
  /** Names of machines that are here already. */
  readonly isTaken: (name: string) => boolean;
  readonly tunnels: TunnelDesk;
  /** Files of machines that are to come, as `FileReceiver.onComplete` told: paths by role. */
  readonly delivered: ReadonlyMap<string, ReadonlyMap<string, string>>;
  /** A machine has come and is live. */
  readonly onArrived: (vm: AgentVm) => void;
}

const PAGE_BYTES = 4096;
/** Beside the guest's RAM a machine takes about this. */
const MACHINE_OVERHEAD_BYTES = 96 * 2 ** 20;
/** Numbers below are a migration's in the machine's thread: what is not known there is complete. */
const UNKNOWN_CHECKPOINT = 2 ** 31;
/** How long frames of a machine that has come wait for the connections that it has. */
const FLOWS_LIMIT_MS = 3000;
const NO_HASHER = { sha256: () => new Uint8Array(0) };

/** An offered machine with this host's files, and what it boots. */
interface Here {
  readonly config: VmConfig;
  readonly boot: BootConfig | undefined;
}

/** See the head of this file. */
export function targetHost(host: IncomingHost): TargetHost {
  /** Offered machines with this host's files, by lineage. */
  const here = new Map<string, Here>();
  return {
    store: host.store,
    agent: host.agentName,
    judge: (offer) => judge(host, offer, here),
    makeMachine: (offer, checkpoint, onReport) => {
      const known = here.get(offer.lineage);
      assert(known !== undefined, "a machine is judged before it is made");
      return IncomingMachine.make(host, known, { offer, checkpoint, onReport });
    },
    bases: ({ lineage }) => {
      const known = here.get(lineage);
      return known === undefined ? [] : basesOf(known.config);
    },
    tookOver: (taken) => void takeOver(host, taken),
  };
}

/** A machine that replays here, with the network that it will have. */
class IncomingMachine implements ReplayingMachine {
  readonly vm: VirtualMachine;
  readonly config: VmConfig;
  readonly network: VmNetwork;
  readonly passing: VmEvents;
  readonly #forget: () => void;

  private constructor(parts: {
    readonly vm: VirtualMachine;
    readonly config: VmConfig;
    readonly network: VmNetwork;
    readonly passing: VmEvents;
    readonly forget: () => void;
  }) {
    this.vm = parts.vm;
    this.config = parts.config;
    this.network = parts.network;
    this.passing = parts.passing;
    this.#forget = parts.forget;
  }

  static async make(
    { tunnels }: IncomingHost,
    { config, boot }: Here,
    coming: {
      readonly offer: Offer;
      readonly checkpoint: Checkpoint;
      readonly onReport: (report: VmReport) => void;
    },
  ): Promise<IncomingMachine> {
    const { lineage } = coming.offer;
    const { checkpoint: id, state, trace } = coming.checkpoint;
    const { pace, restarts } = config;
    const passing = new VmEvents();
    passing.onReport = coming.onReport;
    const network = await VmNetwork.start(config, "later");
    passing.network = network;
    tunnels.open(lineage, network);
    const vm = await VirtualMachine.start(
      {
        source: { kind: "checkpoint", id, config: restoreConfigOf(config), state, trace },
        disks: config.disks.map(({ path }) => inspectDiskFile(path)),
        pace,
        engine: "auto",
        limit: undefined,
        digestAtEnd: false,
        ...(restarts && boot !== undefined ? { restart: boot } : {}),
      },
      passing.events,
    );
    const forget = (): void => tunnels.close(lineage, network);
    return new IncomingMachine({ vm, config, network, passing, forget });
  }

  request(request: VmRequest): void {
    this.vm.request(request);
  }

  /** It has not come after all. */
  async terminate(): Promise<void> {
    this.#forget();
    await this.vm.terminate();
    await this.network.close();
  }
}

async function judge(host: IncomingHost, offer: Offer, here: Map<string, Here>): Promise<Verdict> {
  try {
    here.set(offer.lineage, await check(host, offer));
    const { bavail, bsize } = statfsSync(host.stateDir);
    // Where none is ready, or for another size, it is when the first checkpoint is announced.
    prepareThread(offer.pageCount * PAGE_BYTES);
    return {
      kind: "accept",
      has: {
        hasBase: offer.disks.map(() => true),
        checkpoints: [],
        freeMemoryBytes: freemem(),
        freeDiskBytes: bavail * bsize,
      },
    };
  } catch (error) {
    const coded = error instanceof CodedError ? error : undefined;
    const message = error instanceof Error ? error.message : String(error);
    const code = coded === undefined ? "E_INTERNAL" : String(coded.code);
    host.log.warn({ vm: offer.name, code }, message);
    return { kind: "refuse", reason: { code, message, hint: coded?.hint } };
  }
}

/** Gives the machine's configuration with this host's files. Throws why it cannot come. */
async function check(host: IncomingHost, offer: Offer): Promise<Here> {
  const { name, lineage } = offer;
  const stored = host.store.findLineage(name);
  if (host.isTaken(name) || (stored !== undefined && stored.id !== lineage)) {
    const message = `there is a machine ${name} on ${host.agentName} already`;
    throw agentError("E_VM_EXISTS", message, "remove it there, or move it away first");
  }
  checkRecords(host, offer);
  const config = await configHere(decodeVmConfig(offer.description), host.delivered.get(lineage));
  const needed = config.memoryBytes + MACHINE_OVERHEAD_BYTES;
  if (freemem() < needed) {
    const mib = (bytes: number): string => (bytes / 2 ** 20).toFixed(0);
    const message = `${host.agentName} has ${mib(freemem())} MiB of free RAM, want ${mib(needed)}`;
    throw agentError("E_NO_MEMORY", message, "stop something there, or choose another host");
  }
  const files = config.boot;
  const boot = files && loadBoot(files);
  const hasher = files && boot ? await bootHasher(files, boot) : NO_HASHER;
  const present = { ...restoreConfigOf(config), ...(boot && { boot }) };
  const sha256 = config.disks.map((disk) => disk.sha256);
  const { fingerprint } = decodeTraceHeader(offer.fingerprint);
  checkFingerprint(fingerprint, fingerprintOf(present, sha256, hasher));
  return { config, boot };
}

/** Nobody brings here what lives here, or what has moved on since. */
function checkRecords({ store, agentName }: IncomingHost, { name, lineage, epoch }: Offer): void {
  const known = store.findLineage(lineage);
  const why = offerRefusal(known === undefined ? [] : store.ownershipHistory(known.id), epoch);
  if (why === "lives-here") {
    const message = `${name} lives on ${agentName}, by the records there`;
    throw agentError("E_VM_EXISTS", message, "two hosts claim it: see `dejavm log show` on both");
  }
  if (why === "outdated") {
    const message = `${name} with epoch ${epoch} is outdated: ${agentName} had a later one`;
    throw agentError("E_VM_OUTDATED", message, "do not run that copy: find where it lives now");
  }
}

/** The machine is live: from here on it is recorded and connected like any other. */
async function takeOver(host: IncomingHost, taken: TakenMachine): Promise<void> {
  const { machine, offer, writer } = taken;
  if (!(machine instanceof IncomingMachine)) throw new Error("that machine is not of this agent");
  const { vm, config, network, passing } = machine;
  const { store, log } = host;
  const start = writer.traceEnd;
  const newest = store.checkpoints(writer.lineage).at(-1);
  if (start === undefined || newest === undefined) throw new Error("nothing of it is stored");
  const recorded = new RecordedVm({
    store,
    writer,
    memoryBytes: config.memoryBytes,
    durable: config.durable,
    start,
    onNotice: (line) => log.info({ vm: offer.name }, line),
    events: passing.events,
  });
  vm.attach(recorded.events);
  recorded.attachRecovered(vm, { id: UNKNOWN_CHECKPOINT, stored: newest.id, hasGap: false });
  passing.owner = new AgentVm(host, offer.name, { vm, recorded, config, network });
  host.onArrived(passing.owner);
  // A connection that another host has must not be answered here.
  await network.flowsKnown(FLOWS_LIMIT_MS);
  passing.owner.plug();
  const notes = await network.openForwards(networkNote(config).forwards.map(parseForward));
  passing.owner.running.setState("running", notes);
  writer.setConfig(encodeVmConfig(config));
}
