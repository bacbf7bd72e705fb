/** Connections between two agents of one process: whole messages, a delay, cuts. */
import type { Dial, FrameSocket, FrameSocketEvents } from "@dejavm/protocol";

/** Gives a listener's side of a connection, as `Acceptor.accept` does. */
export type Accept = (socket: FrameSocket) => FrameSocketEvents;

/** A path that can be cut. */
export class Path {
  isCut = false;
  /** What arrives instead of a message. */
  tamper: ((from: "dialer" | "listener", bytes: Uint8Array) => Uint8Array) | undefined;
  readonly #oneWayMs: number;
  readonly #open = new Set<() => void>();

  constructor(oneWayMs: number) {
    this.#oneWayMs = oneWayMs;
  }

  /** Every connection breaks on both sides. */
  breakAll(): void {
    for (const close of this.#open) close();
  }

  /** How the dialling side connects. */
  dial(accept: Accept): Dial {
    return async (_channel, events) => {
      await this.#later(() => undefined);
      if (this.isCut) throw new Error("the path is cut");
      let isOpen = true;
      const close = (code: number | undefined) => {
        if (!isOpen) return;
        isOpen = false;
        this.#open.delete(breakIt);
        void this.#later(() => {
          events.onClose(code);
          far.onClose(code);
        });
      };
      const breakIt = () => close(undefined);
      this.#open.add(breakIt);
      const send = (
        from: "dialer" | "listener",
        to: () => FrameSocketEvents,
        bytes: Uint8Array,
      ) => {
        const copy = this.tamper?.(from, bytes.slice()) ?? bytes.slice();
        void this.#later(() => {
          if (isOpen && !this.isCut) to().onMessage(copy);
        });
      };
      const far = accept({
        send: (bytes) => send("listener", () => events, bytes),
        close: (code) => close(code),
      });
      return { send: (bytes) => send("dialer", () => far, bytes), close: (code) => close(code) };
    };
  }

  #later(action: () => void): Promise<void> {
    return new Promise((resolve) => {
      setTimeout(() => {
        action();
        resolve();
      }, this.#oneWayMs);
    });
  }
}
