/** Which contents the target has: from its inventory, and from files that both sides have. */
import type { BlockIndex } from "./block-index.ts";

const PREFIX_BYTES = 8;

/** Where the target has a page. */
export type KnownPage =
  | { readonly kind: "stored" }
  | { readonly kind: "image"; readonly disk: number; readonly block: number };

/** See the head of this file. */
export class KnownContents {
  /** Blocks of those files. */
  image: BlockIndex | undefined;
  readonly #stored = new Set<bigint>();

  /** False: it is certainly not known, and hashing would be for nothing. */
  mayHave(page: Uint8Array): boolean {
    return this.hasStored || this.image?.mayHave(page) === true;
  }

  /** Whether the target has pages from earlier. */
  get hasStored(): boolean {
    return this.#stored.size > 0;
  }

  /** Takes an `inventory` message. */
  add(prefixes: Uint8Array): void {
    for (let at = 0; at + PREFIX_BYTES <= prefixes.length; at += PREFIX_BYTES) {
      this.#stored.add(prefixOf(prefixes.subarray(at)));
    }
  }

  /** By sha256; undefined: it has to be sent. */
  find(sha256: Uint8Array): KnownPage | undefined {
    const prefix = prefixOf(sha256);
    const place = this.image?.find(prefix);
    if (place !== undefined) return { kind: "image", ...place };
    return this.#stored.has(prefix) ? { kind: "stored" } : undefined;
  }
}

/** The first 8 bytes of a sha256 as a number. */
export function prefixOf(sha256: Uint8Array): bigint {
  return new DataView(sha256.buffer, sha256.byteOffset).getBigUint64(0);
}
