/**
 * Makes a new machine of a recorded moment: another lineage, with other randomness from its first
 * instruction on, and without a network cable, so that it is nobody's double.
 */

import type { LineageId, LineageInfo, LogStore } from "@dejavm/log-store";
import { encodeState, PAGE_BYTES, position, ticks } from "@dejavm/machine";
import { traceStart } from "@dejavm/trace";
import { encodeVmConfig } from "../vm-config.ts";
import type { StoredReplay, StoredReplayProgress } from "./stored-replay.ts";
import { HASHER } from "./vm-files.ts";

/** What a fork is made of. */
export interface ForkOptions {
  readonly store: LogStore;
  /** Where the replay stands is where the fork begins; it goes no further with it afterwards. */
  readonly replay: StoredReplay;
  readonly from: LineageInfo;
  /** Of the new machine. */
  readonly name: string;
  /** 32 fresh bytes. */
  readonly entropySeed: Uint8Array;
  /** Wall time, nanoseconds since 1970: what the fork's clock follows once it runs. */
  readonly nowNs: bigint;
}

const PAGES_PER_PUT = 64;
const CHUNKS_PER_PUT = 16;
const NS_PER_TICK = 100n;

/**
 * The lineage, ready for `resumeNamedVm`. Left off or failed, nothing of it is left. Throws
 * E_STORE_NAME_TAKEN and what the store throws.
 */
export function* forkVm(options: ForkOptions): Generator<StoredReplayProgress, LineageInfo> {
  const { store, replay, from, name } = options;
  const lineage = createLineage(options);
  let whole = false;
  try {
    separate(options);
    yield* writeCheckpoint(store, lineage.id, replay, from.fingerprint);
    whole = true;
    return store.findLineage(name) ?? lineage;
  } finally {
    if (!whole) store.removeLineage(lineage.id);
  }
}

function createLineage({ store, replay, from, name, nowNs }: ForkOptions): LineageInfo {
  const originNs = nowNs - replay.machine.ticks * NS_PER_TICK;
  const config = { ...replay.config, originNs, note: JSON.stringify({ net: "none" }) };
  return store.createLineage({
    name,
    config: encodeVmConfig(config),
    fingerprint: from.fingerprint,
    forkedFrom: { lineage: from.id, position: replay.machine.position },
  });
}

/** From here on it is another machine. */
function separate({ replay, entropySeed }: ForkOptions): void {
  const { machine } = replay;
  for (const event of [
    { kind: "entropy", seed: entropySeed },
    { kind: "link", up: false },
  ] as const) {
    for (;;) {
      const result = machine.input(event);
      if (result.kind === "accepted") break;
      replay.supply(result);
    }
  }
  machine.takeOutputs();
}

function* writeCheckpoint(
  store: LogStore,
  lineage: LineageId,
  replay: StoredReplay,
  header: Uint8Array,
): Generator<StoredReplayProgress, void> {
  const { machine, disks } = replay;
  replay.collectChunks();
  const writer = store.openLineage(lineage);
  try {
    const place = { position: position(machine.position), ticks: ticks(machine.ticks) };
    const checkpoint = writer.beginCheckpoint({
      ...place,
      trace: { ...traceStart(header, HASHER), ...place },
      memoryPages: machine.pageCount,
      state: encodeState(machine.save()),
    });
    const pages = Array.from({ length: machine.pageCount }, (_, page) => page).filter((page) => {
      return !machine.isZeroPage(page);
    });
    for (let at = 0; at < pages.length; at += PAGES_PER_PUT) {
      yield { phase: "save", done: at, total: pages.length };
      const some = Uint32Array.from(pages.slice(at, at + PAGES_PER_PUT));
      const bytes = new Uint8Array(some.length * PAGE_BYTES);
      for (const [i, page] of some.entries()) bytes.set(machine.readPage(page), i * PAGE_BYTES);
      checkpoint.putPages(some, bytes);
    }
    const chunks = machine.overlayChunks();
    for (let at = 0; at < chunks.length; at += CHUNKS_PER_PUT) {
      const some = chunks.slice(at, at + CHUNKS_PER_PUT).map(({ disk, chunk, zero }) => ({
        disk,
        chunk,
        bytes: zero ? undefined : disks.read({ disk, chunk }),
      }));
      checkpoint.putChunks(some);
    }
    checkpoint.commit();
    writer.recordOwnership({ epoch: 1, state: "live", peer: "", detail: "" });
  } finally {
    writer.release();
  }
}
