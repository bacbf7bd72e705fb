/** The thread that hashes and compresses contents; `packer.ts` starts it and talks with it. */
import { parentPort } from "node:worker_threads";
import { assert, unreachable } from "@dejavm/base";
import { type ContentPack, compressPack, HASH_BYTES, hashItems } from "../content-pack.ts";
import { giveable, type PackAnswer, type PackRequest } from "./packer.ts";

/** Items whose hashes are known, until those that are wanted are stored. */
interface Held {
  readonly itemBytes: number;
  readonly bytes: Uint8Array;
  readonly hashes: Uint8Array;
}

assert(parentPort !== null, "started by packer.ts");
const port = parentPort;
const held = new Map<number, Held>();

port.on("message", ({ work, forget }: PackRequest) => {
  for (const id of forget) held.delete(id);
  switch (work?.kind) {
    case "hash": {
      const { id, itemBytes, bytes } = work;
      const hashes = hashItems(itemBytes, bytes);
      held.set(id, { itemBytes, bytes, hashes });
      port.postMessage({ kind: "hashed", id, hashes } satisfies PackAnswer);
      break;
    }
    case "pack": {
      const pack = packOf(itemsOf(work.id), work.items);
      // What is not compressed is still held, and small results of zlib lie in a pool.
      const data = pack.codec === "raw" ? pack.data.slice() : giveable(pack.data);
      const answer: PackAnswer = { kind: "packed", id: work.id, pack: { ...pack, data } };
      port.postMessage(answer, [data.buffer]);
      break;
    }
    case undefined:
      break;
    default:
      unreachable(work);
  }
});

function itemsOf(id: number): Held {
  const items = held.get(id);
  assert(items !== undefined, `items ${id} were hashed and are not forgotten yet`);
  return items;
}

/** All of them in their order are packed as they stand; others are put together first. */
function packOf({ itemBytes, bytes, hashes }: Held, items: readonly number[]): ContentPack {
  const areAll = items.length * itemBytes === bytes.length && items.every((item, i) => item === i);
  if (areAll) return compressPack({ itemBytes, hashes, bytes });
  const some = new Uint8Array(items.length * itemBytes);
  const theirs = new Uint8Array(items.length * HASH_BYTES);
  for (const [i, item] of items.entries()) {
    some.set(bytes.subarray(item * itemBytes, (item + 1) * itemBytes), i * itemBytes);
    theirs.set(hashes.subarray(item * HASH_BYTES, (item + 1) * HASH_BYTES), i * HASH_BYTES);
  }
  return compressPack({ itemBytes, hashes: theirs, bytes: some });
}
