/** The thread that packs what migrations send; `move-packer.ts` starts it and talks with it. */
import { parentPort } from "node:worker_threads";
import { assert, release, unreachable } from "@dejavm/base";
import { BlockIndex } from "./block-index.ts";
import type { MovePackAnswer, MovePackRequest } from "./move-packer.ts";
import { type Packed, Packing } from "./packing.ts";

assert(parentPort !== null, "started by move-packer.ts");
const port = parentPort;
/** Indexes by the names of their files, kept: the next migration is of the same machine. */
const indexes = new Map<string, Promise<BlockIndex>>();
const moves = new Map<number, Packing>();

function indexOf(bases: readonly string[]): Promise<BlockIndex> {
  const key = JSON.stringify(bases);
  let index = indexes.get(key);
  if (index === undefined) {
    index = BlockIndex.of(bases);
    indexes.set(key, index);
  }
  return index;
}

function moveOf(move: number): Packing {
  const packing = moves.get(move);
  assert(packing !== undefined, `move ${move} is open`);
  return packing;
}

/** Requests wait for the index of their move. */
let before: Promise<void> = Promise.resolve();
port.on("message", (request: MovePackRequest) => {
  before = before.then(() => take(request));
});

async function take(request: MovePackRequest): Promise<void> {
  switch (request.kind) {
    case "prepare":
      await indexOf(request.bases);
      return;
    case "open": {
      const packing = new Packing(request.bases);
      packing.known.image = await indexOf(request.bases);
      moves.set(request.move, packing);
      return;
    }
    case "close":
      moves.delete(request.move);
      return;
    case "inventory":
      return moveOf(request.move).known.add(request.prefixes);
    case "forget":
      return moveOf(request.move).forget(request.checkpoint);
    case "pages":
      answer(request.id, moveOf(request.move).pages(request));
      return releaseOf(request.bytes);
    case "chunks":
      answer(request.id, moveOf(request.move).chunks(request));
      return releaseOf(request.bytes);
    case "again": {
      const { id, move, ...wanted } = request;
      return answer(id, moveOf(move).again(wanted));
    }
    default:
      unreachable(request);
  }
}

function answer(id: number, packed: Packed): void {
  const buffers = packed.messages.flatMap((message) =>
    "data" in message && message.data.buffer instanceof ArrayBuffer ? [message.data.buffer] : [],
  );
  port.postMessage({ id, packed } satisfies MovePackAnswer, buffers);
}

/** What came whole is this thread's own. */
function releaseOf({ buffer }: Uint8Array): void {
  if (buffer instanceof ArrayBuffer) release(buffer);
}
