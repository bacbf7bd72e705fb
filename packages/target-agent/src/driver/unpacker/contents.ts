/**
 * Unpacks bulk messages: resolves references, hands contents to machine and store. Pages are
 * unpacked on a thread of their own, chunks in the process's thread pool.
 */
import { promisify } from "node:util";
import { zstdDecompress } from "node:zlib";
import { CodedError } from "@dejavm/base";
import type { BulkMessage } from "@dejavm/protocol";
import type { ChunkBatch, ChunkName, PageBatch } from "@dejavm/vm";
import type { Unpacked } from "../../target-types.ts";
import type { TargetStore } from "../target-store.ts";
import type { MoveUnpacker } from "./move-unpacker.ts";
import type { PageMessage } from "./unpacking.ts";

const decompress = promisify(zstdDecompress);
const PAGE_BYTES = 4096;
const CHUNK_BYTES = 65_536;

/** What a bulk message held. */
export interface Contents {
  readonly pages: PageBatch;
  readonly zeroPages: readonly number[];
  readonly chunks: ChunkBatch;
  readonly zeroChunks: readonly ChunkName[];
  readonly unknownPages: readonly number[];
  readonly unknownChunks: readonly ChunkName[];
}

/**
 * What a message holds; `supply` has it before it is stored. Throws E_PROTOCOL_MALFORMED for data
 * that is not what was announced.
 */
export async function unpack(
  message: BulkMessage,
  { store, unpacker, supply }: UnpackParts,
): Promise<Contents> {
  const { checkpoint } = message;
  if (message.kind === "page-group" || message.kind === "image-refs") {
    const { pages, bytes, packs, unknown } = await unpacker.unpack(message);
    const contents = { ...NOTHING, pages: { pages, bytes }, unknownPages: unknown };
    // The machine takes the bytes; what the store takes is beside them.
    const told = { ...contents, pages: { pages: pages.slice(), bytes } };
    supply(contents);
    for (const part of packs) store.putPackedPages(checkpoint, part.pages, part.pack);
    return told;
  }
  const contents = await contentsOf(message, store);
  const { pages, zeroPages, chunks } = contents;
  if (pages.pages.length > 0) store.putPages(checkpoint, [...pages.pages], pages.bytes);
  if (zeroPages.length > 0) store.putZeroPages(checkpoint, zeroPages);
  if (contents.zeroChunks.length > 0) store.putZeroChunks(checkpoint, contents.zeroChunks);
  if (chunks.chunks.length > 0) store.putChunks(checkpoint, chunks);
  const told = { ...contents, pages: { ...pages, pages: pages.pages.slice() } };
  supply(contents);
  return told;
}

/** Where contents come from and go to. */
export interface UnpackParts {
  readonly store: TargetStore;
  readonly unpacker: MoveUnpacker;
  readonly supply: (contents: Contents) => void;
}

/** What the session hears of it. */
export function unpackedOf(id: number, checkpoint: number, contents: Contents): Unpacked {
  const { pages, zeroPages, chunks, unknownPages, unknownChunks } = contents;
  return {
    id,
    checkpoint,
    pages: [...pages.pages, ...zeroPages],
    chunks: [...chunks.chunks, ...contents.zeroChunks],
    unknownPages,
    unknownChunks,
  };
}

const NOTHING: Contents = {
  pages: { pages: new Uint32Array(0), bytes: new Uint8Array(0) },
  zeroPages: [],
  chunks: { chunks: [], bytes: new Uint8Array(0) },
  zeroChunks: [],
  unknownPages: [],
  unknownChunks: [],
};

async function contentsOf(
  message: Exclude<BulkMessage, PageMessage>,
  store: TargetStore,
): Promise<Contents> {
  switch (message.kind) {
    case "zero-pages":
      return { ...NOTHING, zeroPages: message.pages };
    case "page-refs":
      return referred(message.refs, ({ sha256 }) => store.content(sha256));
    case "chunk-group": {
      const { chunks, codec, data } = message;
      const bytes = await inflate(codec, data, chunks.length * CHUNK_BYTES);
      return { ...NOTHING, chunks: { chunks, bytes } };
    }
    case "zero-chunks":
      return { ...NOTHING, zeroChunks: message.chunks };
    case "chunk-refs": {
      const found = message.refs.map((ref) => ({ ref, bytes: store.content(ref.sha256) }));
      const here = found.filter(({ bytes }) => bytes?.length === CHUNK_BYTES);
      const names = here.map(({ ref: { disk, chunk } }) => ({ disk, chunk }));
      const gone = found.filter(({ bytes }) => bytes?.length !== CHUNK_BYTES);
      return {
        ...NOTHING,
        chunks: { chunks: names, bytes: join(here.map(({ bytes }) => bytes)) },
        unknownChunks: gone.map(({ ref: { disk, chunk } }) => ({ disk, chunk })),
      };
    }
  }
}

function referred<Ref extends { readonly page: number }>(
  refs: readonly Ref[],
  find: (ref: Ref) => Uint8Array | undefined,
): Contents {
  const found = refs.map((ref) => ({ page: ref.page, bytes: find(ref) }));
  const here = found.filter(({ bytes }) => bytes?.length === PAGE_BYTES);
  return {
    ...NOTHING,
    pages: {
      pages: Uint32Array.from(here.map(({ page }) => page)),
      bytes: join(here.map(({ bytes }) => bytes)),
    },
    unknownPages: found.filter(({ bytes }) => bytes?.length !== PAGE_BYTES).map(({ page }) => page),
  };
}

async function inflate(codec: "raw" | "zstd", data: Uint8Array, rawBytes: number) {
  if (codec === "raw") return data.slice();
  try {
    const bytes = await decompress(data, { maxOutputLength: rawBytes });
    if (bytes.length === rawBytes) return new Uint8Array(bytes);
  } catch {
    // Whatever zlib says: the peer promised something else.
  }
  throw new CodedError(
    "E_PROTOCOL_MALFORMED",
    `cannot unpack a bulk message: it does not hold ${rawBytes} bytes`,
  );
}

function join(parts: readonly (Uint8Array | undefined)[]): Uint8Array {
  const whole = new Uint8Array(parts.reduce((sum, part) => sum + (part?.length ?? 0), 0));
  let at = 0;
  for (const part of parts) {
    if (part === undefined) continue;
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
