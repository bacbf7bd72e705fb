/**
 * The scenario in a browser's worker: gets a `Way` as message, answers with the digests. Files and
 * chunks of the disk come from the server of browser.ts.
 */
import { runScenario, type Way } from "./scenario.ts";

/** The part of a worker's global scope that is used here. */
interface WorkerScope {
  addEventListener(type: "message", listener: (event: { readonly data: Way }) => void): void;
  readonly postMessage: (message: readonly string[]) => void;
  readonly XMLHttpRequest: new () => {
    responseType: "arraybuffer";
    readonly response: ArrayBuffer;
    readonly status: number;
    open(method: "GET", path: string, async: false): void;
    send(): void;
  };
}

const scope = globalThis as unknown as WorkerScope;
const { postMessage: answer } = scope;

/** The machine asks for chunks while it runs: this waits. */
function get(path: string): Uint8Array {
  const request = new scope.XMLHttpRequest();
  request.open("GET", path, false);
  request.responseType = "arraybuffer";
  request.send();
  if (request.status !== 200) throw new Error(`GET ${path}: ${request.status}`);
  return new Uint8Array(request.response);
}

scope.addEventListener("message", ({ data }) => {
  const facts = JSON.parse(new TextDecoder().decode(get("/facts"))) as {
    readonly commandLine: string;
    readonly diskBytes: number;
  };
  const digests = runScenario(
    {
      ...facts,
      kernel: get("/kernel"),
      initrd: get("/initrd"),
      readChunk: (chunk) => get(`/disk/${chunk}`),
    },
    data,
  );
  answer(digests);
});
