/** The sender of the files that a machine is made of: see file-wire.ts. */
import { open } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { zstdCompress } from "node:zlib";
import { CodedError } from "@dejavm/base";
import { fileError } from "@dejavm/vm";
import type { WebSocket } from "ws";
import { failureSchema } from "../control/api.ts";
import { fromFailure } from "../control/failure.ts";
import { toBytes } from "../control/vm-client.ts";
import { agentError } from "../errors.ts";
import {
  CHUNK_BYTES,
  completeSchema,
  type FileName,
  nextSchema,
  takenSchema,
  WINDOW_CHUNKS,
} from "./file-wire.ts";

const pack = promisify(zstdCompress);

/** A file of this host. */
export interface LocalFile extends FileName {
  readonly path: string;
}

/** How far it is. */
export interface FileProgress {
  readonly role: string;
  readonly doneBytes: number;
  readonly sizeBytes: number;
  /** Sent so far, compressed, of all files. */
  readonly sentBytes: number;
}

/** How files are sent. */
export interface SendFilesOptions {
  readonly lineage: string;
  readonly files: readonly LocalFile[];
  /** Infinity: what the path gives. */
  readonly maxBytesPerMs: number;
  readonly signal: AbortSignal;
  readonly onProgress: (progress: FileProgress) => void;
}

/**
 * Gives the peer what it lacks; gives the compressed bytes sent. The link is closed afterwards.
 * Throws what the peer says, E_PEER_UNREACHABLE where the link breaks, E_CANCELLED, E_FILE_*.
 */
export async function sendFiles(link: WebSocket, options: SendFilesOptions): Promise<number> {
  const sending = new Sending(link, options);
  try {
    return await sending.run();
  } finally {
    link.close();
  }
}

class Sending {
  readonly #link: WebSocket;
  readonly #options: SendFilesOptions;
  #failure: Error | undefined;
  #wake: () => void = () => undefined;
  /** What the peer asks for; it asks again when that has come. */
  #next: { readonly sha256: string; readonly haveBytes: number } | undefined;
  #isComplete = false;
  /** Chunks that the peer has taken, of all that were sent. */
  #taken = 0;
  #sentChunks = 0;
  #sentBytes = 0;

  constructor(link: WebSocket, options: SendFilesOptions) {
    this.#link = link;
    this.#options = options;
    link.on("error", () => undefined);
    link.on("message", (data) => this.#hear(JSON.parse(Buffer.from(toBytes(data)).toString())));
    link.on("close", () => this.#fail(lost()));
    options.signal.addEventListener("abort", () => this.#fail(cancelled()), { once: true });
    if (options.signal.aborted) this.#fail(cancelled());
  }

  async run(): Promise<number> {
    const { lineage, files } = this.#options;
    const names = files.map(({ role, sha256, sizeBytes }) => ({ role, sha256, sizeBytes }));
    this.#link.send(JSON.stringify({ lineage, files: names }), { binary: false });
    for (;;) {
      await this.#until(() => this.#next !== undefined || this.#isComplete);
      const next = this.#next;
      if (next === undefined) return this.#sentBytes;
      this.#next = undefined;
      const file = files.find(({ sha256 }) => sha256 === next.sha256);
      if (file === undefined) throw agentError("E_AGENT_PROTOCOL", "the peer asks for other files");
      await this.#send(file, next.haveBytes);
    }
  }

  async #send(file: LocalFile, from: number): Promise<void> {
    const { maxBytesPerMs, onProgress } = this.#options;
    const handle = await open(file.path, "r").catch((error: unknown) => {
      throw fileError(`read ${file.path}`, error);
    });
    try {
      for (let at = from; at < file.sizeBytes; at += CHUNK_BYTES) {
        const bytes = Buffer.alloc(Math.min(CHUNK_BYTES, file.sizeBytes - at));
        const { bytesRead } = await handle.read(bytes, 0, bytes.length, at);
        if (bytesRead < bytes.length) throw shrunk(file.path);
        const message = await pack(bytes);
        await this.#until(() => this.#sentChunks - this.#taken < WINDOW_CHUNKS);
        this.#link.send(message);
        this.#sentChunks++;
        this.#sentBytes += message.length;
        const { role, sizeBytes } = file;
        const doneBytes = at + bytes.length;
        onProgress({ role, doneBytes, sizeBytes, sentBytes: this.#sentBytes });
        await sleep(message.length / maxBytesPerMs);
      }
    } finally {
      await handle.close();
    }
  }

  #hear(message: unknown): void {
    const failure = failureSchema.safeParse(message);
    if (failure.success) return this.#fail(fromFailure(failure.data));
    const next = nextSchema.safeParse(message);
    if (next.success) this.#next = next.data.next;
    if (completeSchema.safeParse(message).success) this.#isComplete = true;
    if (takenSchema.safeParse(message).success) this.#taken++;
    this.#wake();
  }

  #fail(error: Error): void {
    this.#failure ??= error;
    this.#wake();
  }

  async #until(holds: () => boolean): Promise<void> {
    for (;;) {
      if (this.#failure !== undefined) throw this.#failure;
      if (holds()) return;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}

function lost(): CodedError {
  const message = "the link broke while the machine's files were sent";
  return agentError("E_PEER_UNREACHABLE", message, "migrate again: it goes on where it was");
}

function shrunk(path: string): CodedError {
  const hint = "leave files of running machines as they are";
  return new CodedError("E_FILE_IO", `cannot read ${path}: it has become shorter`, { hint });
}

function cancelled(): CodedError {
  return new CodedError("E_CANCELLED", "the migration was cancelled");
}
