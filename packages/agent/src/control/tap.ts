/** Frames as they leave a machine, for who watches: stamped with the host's time. */
import type { WebSocket } from "ws";
import type { VmNetwork } from "../vm/vm-network.ts";

const STAMP_BYTES = 8;
/** A watcher that is slower than this misses frames. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** Binary messages: milliseconds since 1970 as a big-endian double, then the frame. */
export function serveTap(network: VmNetwork, stream: WebSocket): void {
  const end = network.tap(({ frame, atMs }) => {
    if (stream.bufferedAmount > MAX_WAITING_BYTES) return;
    const message = Buffer.alloc(STAMP_BYTES + frame.length);
    message.writeDoubleBE(atMs);
    message.set(frame, STAMP_BYTES);
    stream.send(message);
  });
  stream.on("close", end);
  stream.on("error", () => undefined);
}
