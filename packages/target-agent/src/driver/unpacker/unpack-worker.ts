/** The thread that unpacks what migrations receive; `move-unpacker.ts` starts and asks it. */
import { parentPort } from "node:worker_threads";
import { assert, CodedError, unreachable } from "@dejavm/base";
import type { MoveUnpackAnswer, MoveUnpackRequest } from "./move-unpacker.ts";
import { type UnpackedPages, Unpacking } from "./unpacking.ts";

assert(parentPort !== null, "started by move-unpacker.ts");
const port = parentPort;
const moves = new Map<number, Unpacking>();

port.on("message", (request: MoveUnpackRequest) => {
  switch (request.kind) {
    case "open":
      moves.set(request.move, new Unpacking(request.bases));
      break;
    case "close":
      moves.get(request.move)?.close();
      moves.delete(request.move);
      break;
    case "unpack": {
      const unpacking = moves.get(request.move);
      assert(unpacking !== undefined, `move ${request.move} is open`);
      const { id, message } = request;
      try {
        answer(id, unpacking.unpack(message));
      } catch (error) {
        if (!(error instanceof CodedError)) throw error;
        const failed = { code: String(error.code), text: error.message };
        port.postMessage({ kind: "failed", id, ...failed } satisfies MoveUnpackAnswer);
      }
      break;
    }
    default:
      unreachable(request);
  }
});

function answer(id: number, unpacked: UnpackedPages): void {
  const arrays = [unpacked.bytes, ...unpacked.packs.map(({ pack }) => pack.data)];
  const buffers = new Set<ArrayBuffer>();
  for (const { buffer, length } of arrays) {
    if (buffer instanceof ArrayBuffer && buffer.byteLength === length) buffers.add(buffer);
  }
  port.postMessage({ kind: "unpacked", id, unpacked } satisfies MoveUnpackAnswer, [...buffers]);
}
