/** Before a migration the peer gets the files that it lacks of those that a machine is made of. */
import { setTimeout as sleep } from "node:timers/promises";
import { CodedError } from "@dejavm/base";
import { FILES_PATH } from "../files/file-wire.ts";
import { type FileProgress, sendFiles } from "../files/send-files.ts";
import { dialPeer } from "../peer/dialer.ts";
import { reachMs } from "../peer/reach.ts";
import { filesOf } from "../vm/machine-config.ts";
import type { OutgoingOptions } from "./outgoing.ts";

/** Largest message of who receives files. */
const MAX_TELL_BYTES = 65_536;
/** A link that broke is tried again so often, and for so long while nothing more arrives. */
const RETRY_MS = 500;
const GIVE_UP_MS = 120_000;

/**
 * Settles when the peer has them. A link that breaks is taken up where it was. Throws E_CANCELLED,
 * E_PEER_*, E_FILE_*, and what the peer says.
 */
export async function provideFiles(options: OutgoingOptions, maxBytesPerMs: number): Promise<void> {
  const { host, peer, vm, onProgress } = options;
  const files = await filesOf(vm.parts.config);
  const startedAt = performance.now();
  let arrivedAt: number | undefined;
  let before = 0;
  for (;;) {
    let sent = 0;
    const tell = (progress: FileProgress): void => {
      sent = progress.sentBytes;
      arrivedAt = performance.now();
      onProgress(progressOf(progress, before + sent, arrivedAt - startedAt));
    };
    try {
      sent = await provideOnce(options, { files, maxBytesPerMs, onProgress: tell });
      const sentBytes = before + sent;
      if (sentBytes > 0) host.log.info({ vm: vm.name, peer: peer.name, sentBytes }, "files sent");
      return;
    } catch (error) {
      const isBroken = error instanceof CodedError && error.code === "E_PEER_UNREACHABLE";
      const patienceMs = arrivedAt === undefined ? reachMs(error) : GIVE_UP_MS;
      const waitedMs = performance.now() - (arrivedAt ?? startedAt);
      if (!isBroken || options.signal.aborted || waitedMs > patienceMs) throw error;
      before += sent;
      await sleep(RETRY_MS);
    }
  }
}

async function provideOnce(
  { identity, peer, vm, signal }: OutgoingOptions,
  how: Pick<Parameters<typeof sendFiles>[1], "files" | "maxBytesPerMs" | "onProgress">,
): Promise<number> {
  const link = await dialPeer(identity, peer, {
    path: FILES_PATH,
    maxMessageBytes: MAX_TELL_BYTES,
  });
  return sendFiles(link, { lineage: vm.lineage, signal, ...how });
}

function progressOf(
  { role, doneBytes, sizeBytes }: FileProgress,
  sentBytes: number,
  elapsedMs: number,
): Parameters<OutgoingOptions["onProgress"]>[0] {
  return {
    phase: "files",
    lagMs: undefined,
    share: 1,
    bytesPerMs: sentBytes / elapsedMs,
    sentBytes,
    pendingPages: 0,
    pendingMs: undefined,
    predictedDowntimeMs: undefined,
    why: `${role}, ${((100 * doneBytes) / sizeBytes).toFixed(0)} %`,
  };
}
