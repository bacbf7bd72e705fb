/** A connected socket that carries frames in QEMU's stream framing. */
import type { Socket } from "node:net";
import { FrameSplitter, lengthPrefix } from "../framing.ts";

/** Bytes that wait for a slow peer; above this frames are dropped, as a network does. */
const MAX_QUEUED_BYTES = 4 * 1024 * 1024;

/** What a frame socket tells its owner. */
export interface FrameSocketEvents {
  /** A view of what was received; it does not change any more. */
  readonly onFrame: (frame: Uint8Array) => void;
  /** What came is no stream of frames; the socket closes. */
  readonly onGarbage: (error: Error) => void;
}

/** See the head of this file. Its owner listens for the socket's own end. */
export class FrameSocket {
  readonly #socket: Socket;
  #dropped = 0;

  constructor(socket: Socket, events: FrameSocketEvents) {
    this.#socket = socket;
    const splitter = new FrameSplitter();
    socket.on("data", (bytes: Uint8Array) => {
      try {
        for (const frame of splitter.push(bytes)) events.onFrame(frame);
      } catch (error) {
        socket.destroy();
        events.onGarbage(error instanceof Error ? error : new Error(String(error)));
      }
    });
  }

  /** Frames that a slow peer did not get. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Frames of one turn become one call to the system. */
  send(frame: Uint8Array): void {
    const socket = this.#socket;
    if (socket.writableLength > MAX_QUEUED_BYTES || socket.destroyed) {
      this.#dropped++;
      return;
    }
    if (socket.writableCorked === 0) {
      socket.cork();
      setImmediate(() => socket.uncork());
    }
    socket.write(lengthPrefix(frame));
    socket.write(frame);
  }

  close(): void {
    this.#socket.destroy();
  }
}
