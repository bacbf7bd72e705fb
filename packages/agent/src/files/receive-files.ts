/** The receiver of the files that a machine is made of: see file-wire.ts. */
import { statfsSync } from "node:fs";
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import type { RawData, WebSocket } from "ws";
import { failureSchema } from "../control/api.ts";
import { fromFailure } from "../control/failure.ts";
import { parseBody } from "../control/routes.ts";
import { closeStream } from "../control/streams.ts";
import { toBytes } from "../control/vm-client.ts";
import { agentError } from "../errors.ts";
import type { ComingFile, FileShelf } from "./file-shelf.ts";
import { CHUNK_BYTES, type FileName, wantSchema } from "./file-wire.ts";

const unpack = promisify(zstdDecompress);
/** What is left free on the disk beside the files. */
const SPARE_BYTES = 256 * 2 ** 20;

/** What receives. */
export interface FileReceiver {
  readonly shelf: FileShelf;
  readonly stateDir: string;
  /** A file of this host that has that content; undefined: none. */
  readonly find: (file: FileName) => Promise<string | undefined>;
  /** Every file of a machine is here: paths by role. */
  readonly onComplete: (lineage: string, paths: ReadonlyMap<string, string>) => void;
}

/** Serves one link. */
export function receiveFiles(receiver: FileReceiver, link: WebSocket): void {
  const session = new Receiving(receiver, link);
  let order = Promise.resolve();
  link.on("error", () => undefined);
  link.on("message", (data, binary) => {
    order = order.then(() => session.take(data, binary));
  });
  link.on("close", () => {
    order = order.then(() => session.close());
  });
}

class Receiving {
  readonly #receiver: FileReceiver;
  readonly #link: WebSocket;
  readonly #paths = new Map<string, string>();
  #lineage: string | undefined;
  #wanted: readonly FileName[] = [];
  /** What is still to come, each content once. */
  #files: readonly FileName[] = [];
  #coming: ComingFile | undefined;
  #failed = false;

  constructor(receiver: FileReceiver, link: WebSocket) {
    this.#receiver = receiver;
    this.#link = link;
  }

  async take(data: RawData, binary: boolean): Promise<void> {
    if (this.#failed) return;
    try {
      const bytes = toBytes(data);
      if (binary) await this.#chunk(bytes);
      else await this.#want(JSON.parse(Buffer.from(bytes).toString("utf8")));
    } catch (error) {
      this.#failed = true;
      await this.close();
      closeStream(this.#link, error);
    }
  }

  async close(): Promise<void> {
    const coming = this.#coming;
    this.#coming = undefined;
    await coming?.close();
  }

  async #want(message: unknown): Promise<void> {
    const failure = failureSchema.safeParse(message);
    if (failure.success) throw fromFailure(failure.data);
    const { lineage, files } = parseBody(wantSchema, message);
    const { shelf, find } = this.#receiver;
    this.#lineage = lineage;
    this.#wanted = files;
    const missing = new Map<string, FileName>();
    for (const file of files) {
      const path = shelf.find(file.sha256) ?? (await find(file));
      if (path !== undefined) this.#paths.set(file.role, path);
      else missing.set(file.sha256, file);
    }
    this.#files = [...missing.values()];
    this.#checkRoom();
    await this.#next();
  }

  #checkRoom(): void {
    const { shelf, stateDir } = this.#receiver;
    let bytes = SPARE_BYTES;
    for (const { sha256, sizeBytes } of this.#files)
      bytes += sizeBytes - shelf.partialBytes(sha256);
    const { bavail, bsize } = statfsSync(stateDir);
    if (this.#files.length === 0 || bavail * bsize >= bytes) return;
    const mib = (count: number): string => (count / 2 ** 20).toFixed(0);
    throw agentError(
      "E_DISK_FULL",
      `cannot take the machine's files: ${mib(bavail * bsize)} MiB are free, want ${mib(bytes)}`,
      "make room on the target, or build the same image there: dejavm image build",
    );
  }

  /** Asks for the next file, or tells that all are here. */
  async #next(): Promise<void> {
    const [file] = this.#files;
    if (file !== undefined) {
      const { sha256, sizeBytes } = file;
      this.#coming = await this.#receiver.shelf.receive(sha256, sizeBytes);
      this.#tell({ next: { sha256, haveBytes: this.#coming.bytes } });
      if (this.#coming.bytes === sizeBytes) await this.#finish();
      return;
    }
    for (const { role, sha256 } of this.#wanted) {
      const path = this.#paths.get(role) ?? this.#receiver.shelf.find(sha256);
      if (path !== undefined) this.#paths.set(role, path);
    }
    if (this.#lineage !== undefined) this.#receiver.onComplete(this.#lineage, this.#paths);
    this.#tell({ complete: true });
  }

  async #chunk(bytes: Uint8Array): Promise<void> {
    const [file] = this.#files;
    const coming = this.#coming;
    if (file === undefined || coming === undefined) {
      throw agentError("E_AGENT_PROTOCOL", "a piece of a file came that nobody asked for");
    }
    const plain = await unpack(bytes, { maxOutputLength: CHUNK_BYTES });
    if (coming.bytes + plain.length > file.sizeBytes) {
      throw agentError("E_AGENT_PROTOCOL", `the file ${file.sha256} is longer than it was said`);
    }
    await coming.write(plain);
    this.#tell({ sha256: file.sha256, bytes: coming.bytes });
    if (coming.bytes === file.sizeBytes) await this.#finish();
  }

  async #finish(): Promise<void> {
    try {
      await this.#coming?.finish();
    } finally {
      await this.close();
    }
    this.#files = this.#files.slice(1);
    await this.#next();
  }

  #tell(facts: object): void {
    if (this.#link.readyState === this.#link.OPEN) {
      this.#link.send(JSON.stringify(facts), { binary: false });
    }
  }
}
