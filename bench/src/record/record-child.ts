/**
 * The process in which one run is measured:
 *
 *     record-child WORKLOAD DIRECTORY plain|recorded     prints a RecordMeasurement as JSON
 *
 * A recorded run stays in DIRECTORY/store, and is then replayed in the same process.
 */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openLogStore } from "@dejavm/log-store";
import {
  bareVmConfig,
  createNamedVm,
  loadBoot,
  type NamedVm,
  resumeNamedVm,
  type VmConfig,
} from "@dejavm/source-agent";
import { setEngineFlags, VirtualMachine } from "@dejavm/vm";
import { RECORD_WORKLOADS, type RecordWorkload } from "./record-programs.ts";

/** What one run cost. CPU time is of the whole process. */
export interface RecordMeasurement {
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  readonly positions: number;
  readonly traceBytes: number;
  /** Positions of the last stretch, and the time that it took to do them again. */
  readonly replayedPositions: number;
  readonly replaySeconds: number;
}

setEngineFlags();
const [name, directory = "", mode] = process.argv.slice(2);
const found = RECORD_WORKLOADS.find((workload) => workload.name === name);
if (found === undefined) throw new Error(`there is no workload ${name}`);
const result = await measure(found);
process.stdout.write(JSON.stringify(result));
process.exit(0);

async function measure(workload: RecordWorkload): Promise<RecordMeasurement> {
  mkdirSync(directory, { recursive: true });
  const firmware = join(directory, "guest");
  writeFileSync(firmware, new Uint8Array(Uint32Array.from(workload.words).buffer));
  const originNs = BigInt(Date.now()) * 1_000_000n;
  const config = bareVmConfig(firmware, { restarts: false, originNs });
  const store = openLogStore(join(directory, "store"));
  const end = Promise.withResolvers<void>();
  let onAnswer: () => void = () => undefined;
  const events = { onConsole: () => onAnswer(), onLimit: () => end.resolve() };
  const spec = { limit: workload.positions, digestAtEnd: false };
  const options = { store, name: "bench", spec, events, onNotice: () => undefined };
  const power = { entropySeed: new Uint8Array(32), wallTimeNs: 0n };
  const cpu = process.cpuUsage();
  const start = performance.now();
  const { vm, recorded } =
    mode === "recorded"
      ? await createNamedVm(options, config, power)
      : { vm: await startPlain(config, options), recorded: undefined };
  for (let i = 0; i < workload.answers; i++) {
    await new Promise<void>((resolve) => {
      onAnswer = resolve;
      vm.sendConsole("uart", Uint8Array.of(120));
    });
  }
  if (workload.positions !== undefined) await end.promise;
  const { user, system } = process.cpuUsage(cpu);
  const wallSeconds = (performance.now() - start) / 1000;
  const { position } = await vm.stop();
  recorded?.close();
  const replay = recorded === undefined ? undefined : await replayAgain(options);
  const measured = {
    cpuSeconds: (user + system) / 1e6,
    wallSeconds,
    positions: Number(position),
    traceBytes: traceBytes(store),
    replayedPositions: replay?.positions ?? 0,
    replaySeconds: replay?.seconds ?? 0,
  };
  store.close();
  return measured;
}

function startPlain(
  { memoryBytes, boot }: VmConfig,
  { spec, events }: Pick<Parameters<typeof createNamedVm>[0], "spec" | "events">,
): Promise<VirtualMachine> {
  if (boot === undefined) throw new Error("a machine that boots");
  const config = {
    memoryBytes,
    boot: loadBoot(boot),
    disks: [],
    net: undefined,
    entropySeed: new Uint8Array(32),
    wallTimeNs: 0n,
  };
  return VirtualMachine.start(
    { ...spec, source: { kind: "create", config }, disks: [], pace: "live" },
    events,
  );
}

async function replayAgain(options: Parameters<typeof createNamedVm>[0]) {
  let line = "";
  const spec = { limit: undefined, digestAtEnd: false };
  const start = performance.now();
  const again: NamedVm = await resumeNamedVm({
    ...options,
    spec,
    events: { onConsole: () => undefined },
    onNotice: (text) => (line = text),
  });
  const seconds = (performance.now() - start) / 1000;
  await again.vm.stop();
  again.recorded.close();
  return { positions: Number(/\+ (\d+) replayed/.exec(line)?.[1] ?? 0), seconds };
}

function traceBytes(store: ReturnType<typeof openLogStore>): number {
  const [lineage] = store.lineages();
  let bytes = 0;
  if (lineage === undefined) return 0;
  for (const segment of store.readTrace(lineage.id, 0)) bytes += segment.bytes.length;
  return bytes;
}
