/** A connection that carries whole messages, and how a WebSocket is one. */

/** What a connection can do. */
export interface FrameSocket {
  send(bytes: Uint8Array): void;
  close(code: number, reason: string): void;
}

/** What a connection tells. After `onClose` nothing comes. */
export interface FrameSocketEvents {
  readonly onMessage: (bytes: Uint8Array) => void;
  /** `code`: the peer's close code; undefined: the connection broke. */
  readonly onClose: (code: number | undefined) => void;
}

/** Makes a connection for a channel of a link, ready to send. */
export type Dial = (channel: number, events: FrameSocketEvents) => Promise<FrameSocket>;

/** As much of a WebSocket of the package `ws` as is needed; `binaryType` is `nodebuffer`. */
export interface WebSocketLike {
  send(data: Uint8Array, options: { binary: true }, callback: (error?: Error | null) => void): void;
  close(code: number, reason: string): void;
  terminate(): void;
  on(event: "message", listener: (data: unknown, isBinary: boolean) => void): unknown;
  on(event: "close", listener: (code: number) => void): unknown;
  on(event: "error", listener: (error: Error) => void): unknown;
}

/** RFC 6455: "abnormal closure", which no peer sends. */
const ABNORMAL = 1006;
/** A close frame has room for 123 bytes of reason. */
const MAX_REASON_BYTES = 120;
/** A peer that does not answer a close is dropped after so long. */
const CLOSE_MS = 2000;

/** An open WebSocket as a connection. Text messages count as an empty binary one: no frame. */
export function frameSocketOf(socket: WebSocketLike, events: FrameSocketEvents): FrameSocket {
  let isClosed = false;
  socket.on("message", (data, isBinary) => {
    if (!isClosed) events.onMessage(isBinary ? asBytes(data) : new Uint8Array(0));
  });
  socket.on("error", () => socket.terminate());
  socket.on("close", (code) => {
    if (isClosed) return;
    isClosed = true;
    events.onClose(code === ABNORMAL ? undefined : code);
  });
  return {
    send: (bytes) => {
      if (isClosed) return;
      socket.send(bytes, { binary: true }, (error) => {
        if (error) socket.terminate();
      });
    },
    close: (code, reason) => {
      if (isClosed) return;
      isClosed = true;
      socket.close(code, Buffer.from(reason).subarray(0, MAX_REASON_BYTES).toString("latin1"));
      setTimeout(() => socket.terminate(), CLOSE_MS).unref();
    },
  };
}

function asBytes(data: unknown): Uint8Array {
  if (data instanceof Uint8Array) {
    return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
  }
  return new Uint8Array(0);
}
