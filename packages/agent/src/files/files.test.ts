import { createHash } from "node:crypto";
import { once } from "node:events";
import {
  existsSync,
  readdirSync,
  readFileSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import type { AddressInfo } from "node:net";
import { join } from "node:path";
import { Prng } from "@dejavm/base";
import { beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { WebSocket, WebSocketServer } from "ws";
import { temporaryDirectory } from "../test-support/temporary.ts";
import { FileShelf } from "./file-shelf.ts";
import { CHUNK_BYTES } from "./file-wire.ts";
import { type FileReceiver, receiveFiles } from "./receive-files.ts";
import { type FileProgress, type LocalFile, sendFiles } from "./send-files.ts";

const hex = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

let here = "";
let stateDir = "";
let shelf: FileShelf;
let complete: Map<string, ReadonlyMap<string, string>>;
beforeEach(() => {
  here = temporaryDirectory();
  stateDir = temporaryDirectory();
  shelf = new FileShelf(stateDir);
  complete = new Map();
});

/** Random, with a long run of zeros, as disks have them. */
function file(role: string, sizeBytes: number): LocalFile {
  const bytes = new Prng(sizeBytes).fill(new Uint8Array(sizeBytes));
  bytes.fill(0, Math.floor(sizeBytes / 3), Math.floor(sizeBytes / 2));
  const path = join(here, role);
  writeFileSync(path, bytes);
  return { role, path, sizeBytes, sha256: hex(bytes) };
}

/** A link to a receiver. */
async function link(more: Partial<FileReceiver> = {}): Promise<WebSocket> {
  const server = new WebSocketServer({ port: 0, host: "127.0.0.1" });
  onTestFinished(() => {
    server.close();
  });
  const receiver: FileReceiver = {
    shelf,
    stateDir,
    find: () => Promise.resolve(undefined),
    onComplete: (lineage, paths) => void complete.set(lineage, paths),
    ...more,
  };
  server.on("connection", (accepted) => receiveFiles(receiver, accepted));
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = new WebSocket(`ws://127.0.0.1:${port}`);
  await once(client, "open");
  return client;
}

async function send(
  to: WebSocket,
  files: readonly LocalFile[],
  onProgress: (progress: FileProgress) => void = () => undefined,
  signal = new AbortController().signal,
): Promise<number> {
  const maxBytesPerMs = Number.POSITIVE_INFINITY;
  return sendFiles(to, { lineage: "l1", files, maxBytesPerMs, signal, onProgress });
}

describe("[AG8] files of a machine", () => {
  test("arrive whole, and are not sent again", async () => {
    const files = [file("disk0", 3 * CHUNK_BYTES + 17), file("kernel", 1000), file("initrd", 0)];
    expect(await send(await link(), files)).toBeGreaterThan(2 * CHUNK_BYTES);
    const paths = complete.get("l1");
    for (const { role, path } of files) {
      expect(readFileSync(paths?.get(role) ?? "").equals(readFileSync(path))).toBe(true);
    }
    complete.clear();
    expect(await send(await link(), files)).toBe(0);
    expect(complete.get("l1")).toEqual(paths);
  });

  test("that the host has are not sent, whatever they are called there", async () => {
    const disk = file("disk0", 5000);
    const find = ({ sha256 }: { readonly sha256: string }) =>
      Promise.resolve(sha256 === disk.sha256 ? "/images/disk.img" : undefined);
    expect(await send(await link({ find }), [disk])).toBe(0);
    expect(complete.get("l1")?.get("disk0")).toBe("/images/disk.img");
  });

  test("of one content are sent once", async () => {
    const disk = file("disk0", CHUNK_BYTES);
    const sent = await send(await link(), [disk, { ...disk, role: "disk1" }]);
    expect(sent).toBeLessThan(CHUNK_BYTES);
    const paths = complete.get("l1");
    expect(paths?.get("disk1")).toBe(paths?.get("disk0"));
  });

  test("go on where they were after the link has broken", async () => {
    const disk = file("disk0", 22 * CHUNK_BYTES);
    const first = await link();
    const sending = send(first, [disk], ({ doneBytes }) => {
      if (doneBytes > 18 * CHUNK_BYTES) first.terminate();
    });
    await expect(sending).rejects.toMatchObject({ code: "E_PEER_UNREACHABLE" });
    await expect.poll(() => shelf.partialBytes(disk.sha256)).toBeGreaterThan(CHUNK_BYTES);
    expect(complete.size).toBe(0);
    const began: number[] = [];
    const again = async (): Promise<unknown> => {
      const to = await link();
      return send(to, [disk], ({ doneBytes }) => began.push(doneBytes)).catch(String);
    };
    // What was on its way when the link broke is still being written.
    await expect.poll(again, { timeout: 20_000 }).toBeTypeOf("number");
    expect(began[0]).toBeGreaterThan(2 * CHUNK_BYTES);
    expect(readFileSync(shelf.find(disk.sha256) ?? "").equals(readFileSync(disk.path))).toBe(true);
  });

  test("that were damaged on the way are found out, and sent anew", async () => {
    const disk = file("disk0", 2 * CHUNK_BYTES);
    writeFileSync(join(stateDir, "files", `${disk.sha256}.partial`), Buffer.alloc(CHUNK_BYTES, 1));
    const damaged = send(await link(), [disk]);
    await expect(damaged).rejects.toMatchObject({ code: "E_FILE_DAMAGED" });
    expect(shelf.find(disk.sha256)).toBeUndefined();
    await send(await link(), [disk]);
    expect(shelf.find(disk.sha256)).toBeDefined();
  });

  test("that are shorter than they were said to be are an error of who sends", async () => {
    const disk = file("disk0", 2 * CHUNK_BYTES);
    truncateSync(disk.path, CHUNK_BYTES + 5);
    await expect(send(await link(), [disk])).rejects.toMatchObject({ code: "E_FILE_IO" });
  });

  test("are given up when the migration is", async () => {
    const disk = file("disk0", 20 * CHUNK_BYTES);
    const giving = new AbortController();
    const sending = send(await link(), [disk], () => giving.abort(), giving.signal);
    await expect(sending).rejects.toMatchObject({ code: "E_CANCELLED" });
    expect(complete.size).toBe(0);
  });

  test("that nobody uses any more are removed", async () => {
    const [disk, other] = [file("disk0", 5000), file("disk1", 6000)];
    await send(await link(), [disk, other]);
    shelf.tidy(new Set([shelf.find(disk.sha256) ?? ""]));
    expect(readdirSync(join(stateDir, "files"))).toEqual([disk.sha256]);
    expect(existsSync(disk.path)).toBe(true);
    expect(statSync(shelf.find(disk.sha256) ?? "").size).toBe(5000);
  });
});

describe("[AG8] a peer that", () => {
  /** What the receiver answers to these messages. */
  async function answerTo(...messages: (string | Uint8Array)[]): Promise<unknown> {
    const client = await link();
    const answers: unknown[] = [];
    client.on("message", (data: Buffer) => answers.push(JSON.parse(data.toString())));
    for (const message of messages) client.send(message);
    await once(client, "close");
    return answers.at(-1);
  }

  test("wants what is no file, or sends what nobody asked for, is told so", async () => {
    const protocol = { error: { code: "E_AGENT_PROTOCOL" } };
    const wants = (wanted: object) => JSON.stringify({ lineage: "x", files: [wanted] });
    const good = { role: "kernel", sha256: "a".repeat(64), sizeBytes: 10 };
    expect(await answerTo("{}")).toMatchObject(protocol);
    expect(await answerTo(wants({ ...good, sha256: "../../etc/passwd" }))).toMatchObject(protocol);
    expect(await answerTo(wants({ ...good, role: "disk9" }))).toMatchObject(protocol);
    expect(await answerTo(Uint8Array.of(1, 2, 3))).toMatchObject(protocol);
    expect(await answerTo("not json")).toMatchObject({ error: { code: "E_INTERNAL" } });
    const garbage = await answerTo(wants(good), Uint8Array.of(1, 2, 3));
    expect(garbage).toMatchObject({ error: {} });
    const huge = await answerTo(wants({ ...good, sizeBytes: 2 ** 40 }));
    expect(huge).toMatchObject({ error: { code: "E_DISK_FULL" } });
  });
});
