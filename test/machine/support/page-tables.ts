/** Page tables for guest programs: Sv39 and Sv48 (privileged manual, "Sv39", "Sv48"). */
import { assert } from "@dejavm/base";

/** Bits of a page-table entry. */
export const PTE = { V: 1, R: 2, W: 4, X: 8, U: 16, G: 32, A: 64, D: 128 } as const;
export type PagingMode = "sv39" | "sv48";

const ENTRIES = 512;
const PAGE = 4096;

/** A page-table entry that points to physical `address` with `flags`. */
export function pte(address: number, flags: number): bigint {
  return (BigInt(address >>> 12) << 10n) | BigInt(flags);
}

/** satp for a root table. */
export function satp(mode: PagingMode, root: number): bigint {
  return (BigInt(mode === "sv39" ? 8 : 9) << 60n) | BigInt(root >>> 12);
}

/** Tables as they lie in an image: pages from `start` on, allocated as mappings need them. */
export class PageTables {
  readonly mode: PagingMode;
  readonly root: number;
  readonly #pages = new Map<number, BigUint64Array>();
  #next: number;

  /** `start`: guest physical address of the first table. */
  constructor(mode: PagingMode, start: number) {
    this.mode = mode;
    this.#next = start;
    this.root = this.#allocate();
  }

  /** Maps the page at virtual `address`; `level` 0 is 4 KiB, 1 is 2 MiB. */
  map(address: bigint, physical: number, flags: number, level = 0): void {
    this.entryOf(address, level, (table, index) => {
      table[index] = pte(physical, flags);
    });
  }

  /** Physical address of the entry that maps virtual `address` at `level`. */
  entryOf(
    address: bigint,
    level = 0,
    visit?: (table: BigUint64Array, index: number) => void,
  ): number {
    let at = this.root;
    for (let now = this.mode === "sv39" ? 2 : 3; ; now--) {
      const table = this.#pages.get(at);
      assert(table !== undefined, "tables are ours");
      const index = Number((address >> BigInt(12 + 9 * now)) & 511n);
      if (now === level) {
        visit?.(table, index);
        return at + index * 8;
      }
      if (table[index] === 0n) table[index] = pte(this.#allocate(), PTE.V);
      at = Number((table[index] >> 10n) << 12n);
    }
  }

  /** The page that holds the entry for `address`. */
  tableOf(address: bigint, level = 0): number {
    return Math.floor(this.entryOf(address, level) / PAGE) * PAGE;
  }

  get end(): number {
    return this.#next;
  }

  /** Hands each table to `put` with its physical address. */
  emit(put: (address: number, bytes: Uint8Array) => void): void {
    for (const [address, table] of this.#pages) put(address, new Uint8Array(table.buffer));
  }

  #allocate(): number {
    const page = this.#next;
    this.#next += PAGE;
    this.#pages.set(page, new BigUint64Array(ENTRIES));
    return page;
  }
}
