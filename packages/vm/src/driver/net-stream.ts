/**
 * The guest's network cable to a helper on a Unix socket, in QEMU's stream framing: four bytes of
 * length, big-endian, then the Ethernet frame. The link is redialled for as long as it is wanted.
 */
import { createConnection, type Socket } from "node:net";
import { assert, CodedError } from "@dejavm/base";

/** Longest frame: 64 KiB and headers, as virtio-net's largest. */
export const MAX_FRAME_BYTES = 65_550;
const LENGTH_BYTES = 4;
/** Bytes that wait for a slow helper; above this frames are dropped, as a network does. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;
const FIRST_REDIAL_MS = 100;
const LAST_REDIAL_MS = 2000;

/** What a network stream tells its owner. */
export interface NetStreamEvents {
  readonly onFrame: (frame: Uint8Array) => void;
  /** The helper is there (true) or gone. Not called before the first connection. */
  readonly onLink: (up: boolean) => void;
  /** One line for people. */
  readonly onNotice: (line: string) => void;
}

/** Gives PATH of `stream:PATH`; E_NET_ADDRESS for anything else. */
export function parseNetAddress(text: string): string {
  const path = text.startsWith("stream:") ? text.slice("stream:".length) : "";
  if (path !== "") return path;
  throw new CodedError("E_NET_ADDRESS", `cannot use the network address ${text}`, {
    hint: "want stream:PATH, the Unix socket of a QEMU-style helper that listens",
  });
}

/** Takes a stream apart into frames. `push` throws E_NET_ADDRESS at an impossible length. */
export class FrameSplitter {
  #pending: Uint8Array = new Uint8Array(0);

  push(bytes: Uint8Array): Uint8Array[] {
    const all = this.#pending.length === 0 ? bytes : Buffer.concat([this.#pending, bytes]);
    const view = new DataView(all.buffer, all.byteOffset, all.byteLength);
    const frames: Uint8Array[] = [];
    let at = 0;
    while (all.length - at >= LENGTH_BYTES) {
      const length = view.getUint32(at);
      if (length > MAX_FRAME_BYTES) {
        throw new CodedError(
          "E_NET_ADDRESS",
          `the network helper sent a frame of ${length} bytes`,
          {
            hint: "check that it speaks QEMU's stream framing",
          },
        );
      }
      const start = at + LENGTH_BYTES;
      if (all.length - start < length) break;
      // A copy: `slice` of a Buffer is a view.
      frames.push(new Uint8Array(all.subarray(start, start + length)));
      at = start + length;
    }
    this.#pending = new Uint8Array(all.subarray(at));
    return frames;
  }
}

/** `frame` with its length in front. */
export function framed(frame: Uint8Array): Uint8Array {
  const bytes = Buffer.alloc(LENGTH_BYTES + frame.length);
  bytes.writeUInt32BE(frame.length);
  bytes.set(frame, LENGTH_BYTES);
  return bytes;
}

/** One cable. It never throws: what is wrong is a notice, and it dials again. */
export class NetStream {
  readonly #path: string;
  readonly #events: NetStreamEvents;
  #socket: Socket | undefined;
  #connected = false;
  #redial: NodeJS.Timeout | undefined;
  #redialMs = FIRST_REDIAL_MS;
  #closed = false;
  #saidAbsent = false;

  /** Dials at once. */
  constructor(path: string, events: NetStreamEvents) {
    this.#path = path;
    this.#events = events;
    this.#dial();
  }

  /** Sends a frame, or drops it where the helper is absent or too slow. */
  send(frame: Uint8Array): void {
    const socket = this.#socket;
    if (!this.#connected || socket === undefined) return;
    if (socket.writableLength > MAX_QUEUED_BYTES) return;
    socket.write(framed(frame));
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#redial);
    this.#socket?.destroy();
  }

  #dial(): void {
    const splitter = new FrameSplitter();
    const socket = createConnection({ path: this.#path });
    this.#socket = socket;
    socket.on("connect", () => {
      this.#connected = true;
      this.#saidAbsent = false;
      this.#redialMs = FIRST_REDIAL_MS;
      this.#events.onLink(true);
    });
    socket.on("data", (bytes) => {
      assert(typeof bytes !== "string", "the socket has no encoding");
      try {
        for (const frame of splitter.push(bytes)) this.#events.onFrame(frame);
      } catch (error) {
        this.#events.onNotice(error instanceof Error ? error.message : String(error));
        socket.destroy();
      }
    });
    socket.on("error", (error) => this.#absent(error.message));
    socket.on("close", () => this.#lost());
  }

  #absent(why: string): void {
    if (this.#saidAbsent || this.#closed) return;
    this.#saidAbsent = true;
    this.#events.onNotice(`no network helper at ${this.#path} (${why}); dialling on`);
  }

  #lost(): void {
    if (this.#connected) this.#events.onLink(false);
    this.#connected = false;
    if (this.#closed) return;
    this.#redial = setTimeout(() => this.#dial(), this.#redialMs);
    this.#redialMs = Math.min(this.#redialMs * 2, LAST_REDIAL_MS);
  }
}
