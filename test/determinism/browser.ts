/** Headless Chromium: a server for a guest's files, a page, and a worker in it. */
import { createServer, type Server } from "node:http";
import { fileURLToPath } from "node:url";
import { assert } from "@dejavm/base";
import { build } from "esbuild";
import { chromium } from "playwright-core";
import type { GuestFiles } from "./scenario.ts";

/** What is to be done there. */
export interface WorkerTask {
  /** A file beside this one: gets `message`, and posts one answer. */
  readonly worker: string;
  /** As JSON, both ways. */
  readonly message: unknown;
}

/** What a worker in Chromium, the program at `executablePath`, answers. */
export async function runInChromium(
  executablePath: string,
  files: GuestFiles,
  { worker, message }: WorkerTask,
): Promise<unknown> {
  const server = await serve(files, fileURLToPath(new URL(worker, import.meta.url)));
  const browser = await chromium.launch({
    executablePath,
    // In containers there is neither a user namespace nor much shared memory.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
  try {
    const page = await browser.newPage();
    const address = server.address();
    assert(address !== null && typeof address === "object", "it listens");
    await page.goto(`http://127.0.0.1:${address.port}/`);
    return await page.evaluate<unknown>(`(${IN_PAGE})(${JSON.stringify(message)})`);
  } finally {
    await browser.close();
    server.close();
  }
}

/** Runs in the page: a worker may compile modules of any size at once. */
const IN_PAGE = `(message) => new Promise((resolve, reject) => {
  const worker = new Worker("/worker.js", { type: "module" });
  worker.onmessage = ({ data }) => resolve(data);
  worker.onerror = ({ message }) => reject(new Error(message));
  worker.postMessage(message);
})`;

async function serve(files: GuestFiles, worker: string): Promise<Server> {
  const { outputFiles } = await build({
    entryPoints: [worker],
    bundle: true,
    format: "esm",
    conditions: ["source"],
    write: false,
  });
  const facts = { commandLine: files.commandLine, diskBytes: files.diskBytes };
  const answers: Readonly<Record<string, readonly [string, string | Uint8Array]>> = {
    "/": ["text/html", "<!doctype html>"],
    "/worker.js": ["text/javascript", outputFiles[0]?.text ?? ""],
    "/facts": ["application/json", JSON.stringify(facts)],
    "/kernel": ["application/octet-stream", files.kernel],
    "/initrd": ["application/octet-stream", files.initrd],
  };
  const server = createServer((request, response) => {
    const path = request.url ?? "";
    const chunk = /^\/disk\/(\d+)$/.exec(path)?.[1];
    if (chunk !== undefined) return void response.end(files.readChunk(Number(chunk)));
    const [type, body] = answers[path] ?? ["text/plain", undefined];
    response.writeHead(body === undefined ? 404 : 200, { "content-type": type });
    response.end(body);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  return server;
}
