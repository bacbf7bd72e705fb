/**
 * Files that came from other agents, by content: `files/SHA256` in the state directory, and
 * `files/SHA256.partial` while one comes. What was interrupted goes on where it was.
 */
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readdirSync, rmSync, statSync } from "node:fs";
import { type FileHandle, open, rename, stat } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { CodedError } from "@dejavm/base";
import { fileError } from "@dejavm/vm";
import { agentError } from "../errors.ts";

const PARTIAL = ".partial";

/** See the head of this file. */
export class FileShelf {
  readonly #directory: string;
  /** Files that are being received, by any link. */
  readonly #coming = new Set<string>();

  /** Throws E_FILE_*. */
  constructor(stateDir: string) {
    this.#directory = join(stateDir, "files");
    try {
      mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw fileError(`make ${this.#directory}`, error);
    }
  }

  /** Where the file of that content is; undefined: not here. */
  find(sha256: string): string | undefined {
    const path = join(this.#directory, sha256);
    return existsSync(path) ? path : undefined;
  }

  /** How much of it came the last time. */
  partialBytes(sha256: string): number {
    try {
      return statSync(this.#partial(sha256)).size;
    } catch {
      return 0;
    }
  }

  /** Throws E_FILES_BUSY where another link brings it, E_FILE_*. */
  async receive(sha256: string, sizeBytes: number): Promise<ComingFile> {
    if (this.#coming.has(sha256)) {
      const message = `the file ${sha256} is being received already`;
      throw agentError("E_FILES_BUSY", message, "wait for the other migration");
    }
    this.#coming.add(sha256);
    const partial = this.#partial(sha256);
    const done = (): void => void this.#coming.delete(sha256);
    try {
      const file = await open(partial, "a+", 0o600);
      const { size } = await stat(partial);
      const at = size > sizeBytes ? 0 : size;
      return new ComingFile(file, {
        partial,
        path: join(this.#directory, sha256),
        sha256,
        at,
        done,
      });
    } catch (error) {
      done();
      throw fileError(`write ${partial}`, error);
    }
  }

  /** Removes what no machine uses any more; `used` are paths. */
  tidy(used: ReadonlySet<string>): void {
    for (const name of readdirSync(this.#directory)) {
      const path = join(this.#directory, name);
      if (!used.has(path) && !this.#coming.has(name.replace(PARTIAL, ""))) rmSync(path);
    }
  }

  #partial(sha256: string): string {
    return join(this.#directory, `${sha256}${PARTIAL}`);
  }
}

/** A file that comes piece by piece. `close` it, whatever happens. */
export class ComingFile {
  readonly sha256: string;
  readonly #file: FileHandle;
  readonly #partial: string;
  readonly #path: string;
  readonly #done: () => void;
  #at: number;

  /** Use `FileShelf.receive`. */
  constructor(
    file: FileHandle,
    parts: {
      readonly partial: string;
      readonly path: string;
      readonly sha256: string;
      readonly at: number;
      readonly done: () => void;
    },
  ) {
    this.#file = file;
    this.#partial = parts.partial;
    this.#path = parts.path;
    this.sha256 = parts.sha256;
    this.#at = parts.at;
    this.#done = parts.done;
  }

  /** Bytes that are here. */
  get bytes(): number {
    return this.#at;
  }

  /** Appends. Throws E_FILE_*, E_DISK_FULL. */
  async write(chunk: Uint8Array): Promise<void> {
    try {
      await this.#file.appendFile(chunk);
      this.#at += chunk.length;
    } catch (error) {
      throw fileError(`write ${this.#partial}`, error);
    }
  }

  /** The file is whole: checks it, and puts it on the shelf durably. Throws E_FILE_DAMAGED. */
  async finish(): Promise<void> {
    try {
      await this.#file.sync();
      const hash = createHash("sha256");
      await pipeline(createReadStream(this.#partial, { highWaterMark: 1024 * 1024 }), hash);
      const found = hash.digest("hex");
      if (found !== this.sha256) {
        rmSync(this.#partial);
        const message = `the file ${this.sha256} arrived with the sha256 ${found}`;
        throw agentError("E_FILE_DAMAGED", message, "migrate again: it is sent anew");
      }
      await rename(this.#partial, this.#path);
    } catch (error) {
      throw error instanceof CodedError ? error : fileError(`keep ${this.#path}`, error);
    }
  }

  async close(): Promise<void> {
    this.#done();
    await this.#file.close();
  }
}
