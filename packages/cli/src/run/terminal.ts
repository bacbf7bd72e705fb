/**
 * The terminal (or pipe) that a machine's console is shown on. Whatever ends the process, the
 * terminal gets its old mode back.
 */
import { once } from "node:events";
import { isatty } from "node:tty";

/** What a person, or a pipe, is connected to a console with. */
export interface Terminal {
  /** Writes guest output; settles when the reader has taken it. */
  write(bytes: Uint8Array): void | Promise<void>;
  /** A line from us, or several, between the guest's. */
  notice(text: string): void;
  /** Starts reading; every key comes as it is typed. */
  open(onInput: (bytes: Uint8Array) => void): void;
  /** Stops the flow of input while the guest has no room. */
  pauseInput(paused: boolean): void;
  close(): void;
  /** Whether a person types here: then the escape key works. */
  readonly interactive: boolean;
}

/** Standard input and output; `output` is stderr where stdout is for something else. */
export function hostTerminal(output: NodeJS.WriteStream): Terminal {
  const input = process.stdin;
  const interactive = isatty(input.fd);
  let onData: ((bytes: Uint8Array) => void) | undefined;
  const restore = (): void => {
    if (interactive && input.isRaw) input.setRawMode(false);
  };
  return {
    interactive,
    write: (bytes) => writeFully(output, bytes),
    notice(text) {
      // In raw mode a newline does not return the carriage.
      const raw = `\r\n[dejavm] ${text.replaceAll("\n", "\r\n         ")}\r\n`;
      process.stderr.write(input.isRaw ? raw : `${text}\n`);
    },
    open(onInput) {
      onData = onInput;
      if (interactive) input.setRawMode(true);
      process.on("exit", restore);
      input.on("data", onInput);
    },
    pauseInput(paused) {
      if (paused) input.pause();
      else if (onData !== undefined) input.resume();
    },
    close() {
      restore();
      process.off("exit", restore);
      if (onData !== undefined) input.off("data", onData);
      onData = undefined;
      input.pause();
      input.unref?.();
    },
  };
}

/** Settles when all that was written to a stream has left the process, or cannot any more. */
export function flushed(stream: NodeJS.WriteStream): Promise<void> {
  if (stream.destroyed || stream.writableLength === 0) return Promise.resolve();
  return new Promise((resolve) => {
    stream.once("close", resolve);
    stream.write("", () => resolve());
  });
}

/** Writes to a stream of the process; settles once it has room again, or is closed. */
export function writeFully(stream: NodeJS.WriteStream, bytes: Uint8Array): void | Promise<void> {
  if (stream.write(bytes) || stream.destroyed) return undefined;
  let waiting = draining.get(stream);
  if (waiting === undefined) {
    waiting = drained(stream).finally(() => draining.delete(stream));
    draining.set(stream, waiting);
  }
  return waiting;
}

/** Everybody who waits for a stream waits for the same event. */
const draining = new Map<NodeJS.WriteStream, Promise<void>>();

async function drained(stream: NodeJS.WriteStream): Promise<void> {
  try {
    await Promise.race([once(stream, "drain"), once(stream, "close")]);
  } catch {
    // The reader is gone; main.ts ends the process for a broken pipe.
  }
}
