/**
 * Machines with names: made once, recorded from their first position on, and brought back by name
 * for as long as they live here.
 */
import { randomBytes } from "node:crypto";
import { CodedError } from "@dejavm/base";
import type { LineageInfo, LineageWriter, LogStore } from "@dejavm/log-store";
import type { MachineConfig } from "@dejavm/machine";
import { encodeTraceHeader, fingerprintOf, traceStart } from "@dejavm/trace";
import { type StartSpec, VirtualMachine, type VirtualMachineEvents } from "@dejavm/vm";
import type { SourceAgentErrorCode } from "../errors.ts";
import { decodeVmConfig, encodeVmConfig, restoreConfigOf, type VmConfig } from "../vm-config.ts";
import { RecordedVm } from "./recorded-vm.ts";
import { recoverVm } from "./recover.ts";
import { checkSameMachine, HASHER, inspectVm, locateVm, type VmFiles } from "./vm-files.ts";

const NS_PER_MS = 1_000_000n;
const NS_PER_TICK = 100n;
/** A host's clock that is further behind than this was set back: the guest's time just goes on. */
const MAX_AHEAD_TICKS = 60 * 10_000_000;

/** What does not come from the machine's configuration. */
export interface NamedVmOptions {
  readonly store: LogStore;
  readonly name: string;
  /** How it runs here. */
  readonly spec: Pick<StartSpec, "engine" | "limit" | "digestAtEnd">;
  readonly events: VirtualMachineEvents;
  /** One line for people. */
  readonly onNotice: (line: string) => void;
  readonly replayLimitMs?: number;
  readonly retentionBytes?: number;
}

/** A machine that runs, and its recording. */
export interface NamedVm {
  readonly vm: VirtualMachine;
  readonly recorded: RecordedVm;
  readonly config: VmConfig;
}

/** The lineage of that name with its configuration; undefined: there is none. */
export function findNamedVm(
  store: LogStore,
  name: string,
): { readonly lineage: LineageInfo; readonly config: VmConfig } | undefined {
  const lineage = store.findLineage(name);
  return lineage && { lineage, config: decodeVmConfig(lineage.config) };
}

/**
 * Makes a machine and switches it on. Throws E_STORE_NAME_TAKEN and what is wrong with its
 * configuration; nothing of it is left then.
 */
export async function createNamedVm(
  options: NamedVmOptions,
  config: VmConfig,
  power: Pick<MachineConfig, "entropySeed" | "wallTimeNs">,
): Promise<NamedVm> {
  const { store, name } = options;
  const made = await inspectVm(config);
  const machine: MachineConfig = { ...restoreConfigOf(config), ...power, boot: needBoot(made) };
  const header = encodeTraceHeader(fingerprintOf(machine, sha256Of(config), HASHER));
  const encoded = encodeVmConfig(config);
  const lineage = store.createLineage({ name, config: encoded, fingerprint: header });
  const writer = store.openLineage(lineage.id);
  const recorded = record(options, config, { writer, header });
  try {
    writer.recordOwnership({ epoch: 1, state: "live", peer: "", detail: "" });
    const vm = await VirtualMachine.start(
      {
        ...specOf(options, config, made),
        source: { kind: "create", config: machine },
        record: traceStart(header, HASHER),
      },
      recorded.events,
    );
    recorded.attach(vm);
    return { vm, recorded, config };
  } catch (error) {
    recorded.close();
    store.removeLineage(lineage.id);
    throw error;
  }
}

/**
 * Brings the machine of that name back where it was last seen, or as it was saved when it was
 * stopped; one that was switched off is switched on. Throws E_VM_NOT_HERE, E_STORE_BUSY,
 * E_TRACE_CONFIG, E_RECOVERY_DIVERGED and what is wrong with its disks and images.
 */
export async function resumeNamedVm(options: NamedVmOptions): Promise<NamedVm> {
  const { store, name, onNotice } = options;
  const found = findNamedVm(store, name);
  if (found === undefined) throw notHere(name, "there is no machine of that name");
  const { lineage } = found;
  checkOwnership(lineage);
  const config = await locateVm(lineage, found.config);
  const made = await inspectVm(config);
  const header = lineage.fingerprint;
  checkSameMachine(header, config, made);
  const writer = store.openLineage(lineage.id);
  const { tornBytes } = writer;
  if (tornBytes > 0) onNotice(`${tornBytes} bytes of an interrupted write were cut off the trace`);
  if (config !== found.config) writer.setConfig(encodeVmConfig(config));
  const recorded = record(options, config, { writer, header });
  try {
    const recovery = await recoverVm({
      store,
      lineage: lineage.id,
      config: restoreConfigOf(config),
      spec: specOf(options, config, made),
      recorded,
      behindTicks: (ticks) => behindTicks(config, ticks, onNotice),
    });
    if (recovery === undefined) {
      recorded.close();
      return await beginAnew(options, config, lineage);
    }
    const seconds = (recovery.tookMs / 1000).toFixed(1);
    onNotice(
      `brought back ${name} at position ${(await recovery.vm.origin).position} + ` +
        `${recovery.replayed} replayed, in ${seconds} s`,
    );
    if (recovery.hasGap) onNotice(`what ${name} did while it was not recorded is lost`);
    return { vm: recovery.vm, recorded, config };
  } catch (error) {
    recorded.close();
    throw error;
  }
}

/** It died before its first checkpoint was stored: nothing of it was seen. */
function beginAnew(
  options: NamedVmOptions,
  config: VmConfig,
  lineage: LineageInfo,
): Promise<NamedVm> {
  options.store.removeLineage(lineage.id);
  const wallTimeNs = BigInt(Date.now()) * NS_PER_MS;
  return createNamedVm(
    options,
    { ...config, originNs: wallTimeNs },
    { entropySeed: new Uint8Array(randomBytes(32)), wallTimeNs },
  );
}

function needBoot({ boot }: VmFiles): NonNullable<VmFiles["boot"]> {
  if (boot !== undefined) return boot;
  throw new CodedError("E_CONFIG_INVALID", "cannot switch on a machine that boots nothing");
}

const sha256Of = ({ disks }: VmConfig): Uint8Array[] => disks.map(({ sha256 }) => sha256);

function specOf(
  { spec }: NamedVmOptions,
  config: VmConfig,
  { disks, boot }: VmFiles,
): Omit<StartSpec, "source" | "record"> {
  const restart = config.restarts && boot !== undefined ? { restart: boot } : {};
  return { ...spec, disks, pace: config.pace, ...restart };
}

function record(
  options: NamedVmOptions,
  { memoryBytes, durable }: VmConfig,
  { writer, header }: { readonly writer: LineageWriter; readonly header: Uint8Array },
): RecordedVm {
  const { store, events, onNotice, replayLimitMs, retentionBytes } = options;
  return new RecordedVm({
    store,
    writer,
    memoryBytes,
    durable,
    events,
    onNotice,
    start: traceStart(header, HASHER),
    ...(replayLimitMs === undefined ? {} : { replayLimitMs }),
    ...(retentionBytes === undefined ? {} : { retentionBytes }),
  });
}

function checkOwnership({ name, ownership }: LineageInfo): void {
  if (ownership === undefined || ownership.state === "live") return;
  const { state, peer } = ownership;
  throw notHere(name, `its record says ${state}${peer === "" ? "" : `, peer ${peer}`}`);
}

function notHere(name: string, why: string): CodedError<SourceAgentErrorCode> {
  return new CodedError("E_VM_NOT_HERE", `cannot bring ${name} back: ${why}`, {
    hint: "see 'dejavm ps' and 'dejavm log ls'",
  });
}

/** The guest's clock follows this host's, whatever happened meanwhile. */
function behindTicks(
  { originNs }: VmConfig,
  ticks: bigint,
  onNotice: (line: string) => void,
): number {
  const passed = (BigInt(Date.now()) * NS_PER_MS - originNs) / NS_PER_TICK;
  const behind = Number(passed - ticks);
  if (behind >= -MAX_AHEAD_TICKS) return behind;
  onNotice("this host's clock was set back: the guest's goes on from where it was");
  return 0;
}
