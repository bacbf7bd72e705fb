/**
 * What a browser's worker of these tests has: a message to begin with, one answer, and the guest's
 * files from the server of browser.ts.
 */
import type { GuestFiles } from "./scenario.ts";

/** The part of a worker's global scope that is used here. */
interface WorkerScope {
  addEventListener(type: "message", listener: (event: { readonly data: never }) => void): void;
  readonly postMessage: (message: unknown) => void;
  readonly XMLHttpRequest: new () => {
    responseType: "arraybuffer";
    readonly response: ArrayBuffer;
    readonly status: number;
    open(method: "GET", path: string, async: false): void;
    send(): void;
  };
}

const scope = globalThis as unknown as WorkerScope;
const { postMessage } = scope;

/** Answers the message that comes. */
export function answerWith(task: (files: GuestFiles, message: never) => unknown): void {
  scope.addEventListener("message", ({ data }) => postMessage(task(guestFiles(), data)));
}

function guestFiles(): GuestFiles {
  const facts = JSON.parse(new TextDecoder().decode(get("/facts"))) as {
    readonly commandLine: string;
    readonly diskBytes: number;
  };
  return {
    ...facts,
    kernel: get("/kernel"),
    initrd: get("/initrd"),
    readChunk: (chunk) => get(`/disk/${chunk}`),
  };
}

/** The machine asks for chunks while it runs: this waits. */
function get(path: string): Uint8Array {
  const request = new scope.XMLHttpRequest();
  request.open("GET", path, false);
  request.responseType = "arraybuffer";
  request.send();
  if (request.status !== 200) throw new Error(`GET ${path}: ${request.status}`);
  return new Uint8Array(request.response);
}
