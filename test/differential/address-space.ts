/**
 * Sv39 page tables for the programs, now and then under a fourth level (Sv48): good, bad and odd
 * entries (privileged specification, section "Sv39"). Every space maps the whole test region one to
 * one for S-mode, so that the S-mode trap handler always works, and the bodies twice, for U and S.
 */
import { assert, type Prng } from "@dejavm/base";
import { SATP_SV39, SATP_SV48 } from "./csr.ts";
import {
  BODIES,
  BODY_PAGES,
  DATA,
  DATA_PAGES,
  PAGE_BYTES,
  REGION_BASE,
  TABLE_PAGES,
  TABLES,
  VOID_ADDRESSES,
} from "./layout.ts";

const PTE = {
  V: 1,
  R: 2,
  W: 4,
  X: 8,
  U: 16,
  G: 32,
  A: 64,
  D: 128,
} as const;
const ALL_ACCESS = PTE.V | PTE.R | PTE.W | PTE.X | PTE.A | PTE.D;

/** A virtual page made for data accesses, whether it works or not. */
export interface DataMapping {
  /** Sign-extended, as unsigned 64 bits. */
  readonly virtualAddress: bigint;
  /** Where its leaf entry lies in guest physical memory. */
  readonly entryAddress: number;
  /** The physical page number a changed entry may have: keeps superpages aligned or not. */
  readonly pageNumber: bigint;
  /**
   * The next page may have nothing behind it. A store across that border is split by QEMU, which
   * then has written the first part; the machine writes nothing.
   */
  readonly beforeVoid: boolean;
  /** Leads nowhere, whatever becomes of its leaf entry. */
  readonly hopeless: boolean;
}

export interface AddressSpace {
  readonly satp: bigint;
  /** Virtual addresses at which the body pages begin: executable for U, for S, or by chance. */
  readonly userBodies: bigint;
  readonly supervisorBodies: bigint;
  readonly oddBodies: bigint;
  readonly data: readonly DataMapping[];
}

/** A leaf entry's ten low bits and, seldom, a reserved high bit. */
export function randomLeafFlags(prng: Prng): bigint {
  const software = prng.below(4) << 8;
  if (!prng.oneIn(3)) {
    const user = prng.below(2) * PTE.U;
    const executable = prng.oneIn(3) ? 0 : PTE.X;
    return BigInt(software | user | (ALL_ACCESS & ~PTE.X) | executable);
  }
  const valid = prng.oneIn(8) ? 0 : PTE.V;
  const high = prng.oneIn(12) ? 1n << BigInt(54 + prng.below(10)) : 0n;
  return BigInt(software | prng.below(256) | valid) | high;
}

export function entry(pageNumber: bigint, flags: bigint): bigint {
  return (pageNumber << 10n) | flags;
}

function pageNumberOf(address: number | bigint): bigint {
  return BigInt(address) / BigInt(PAGE_BYTES);
}

function canonical(indices: readonly [number, number, number]): bigint {
  const [two, one, zero] = indices.map(BigInt) as [bigint, bigint, bigint];
  return BigInt.asUintN(64, BigInt.asIntN(39, (two << 30n) | (one << 21n) | (zero << 12n)));
}

/** Hands out table pages and writes entries into the program image. */
class TableWriter {
  readonly #view: DataView;
  #used = 0;

  constructor(image: Uint8Array) {
    this.#view = new DataView(
      image.buffer,
      image.byteOffset + TABLES - REGION_BASE,
      TABLE_PAGES * PAGE_BYTES,
    );
  }

  allocate(): number {
    assert(this.#used < TABLE_PAGES, "the table pages suffice");
    return TABLES + PAGE_BYTES * this.#used++;
  }

  /** Returns the entry's address. */
  set(table: number, index: number, value: bigint): number {
    const address = table + 8 * index;
    this.#view.setBigUint64(address - TABLES, BigInt.asUintN(64, value), true);
    return address;
  }

  pointTo(table: number, index: number, next: number): void {
    this.set(table, index, entry(pageNumberOf(next), BigInt(PTE.V)));
  }
}

const IDENTITY_INDEX = REGION_BASE / 2 ** 30;
const ROOT_INDICES = [0, 1, 3, 100, 255, 256, 300, 510, 511];
const ODD_DATA_OFFSET = BigInt(DATA - REGION_BASE);

function shuffled(prng: Prng, items: readonly number[]): number[] {
  const rest = [...items];
  const result: number[] = [];
  while (rest.length > 0) result.push(...rest.splice(prng.below(rest.length), 1));
  return result;
}

function mapBodies(tables: TableWriter, prng: Prng, root: number, rootIndex: number) {
  const middle = tables.allocate();
  const last = tables.allocate();
  const middleIndex = prng.below(512);
  tables.pointTo(root, rootIndex, middle);
  tables.pointTo(middle, middleIndex, last);
  const run = (first: number, flags: () => bigint): bigint => {
    for (let page = 0; page < BODY_PAGES; page++) {
      tables.set(last, first + page, entry(pageNumberOf(BODIES) + BigInt(page), flags()));
    }
    return canonical([rootIndex, middleIndex, first]);
  };
  const readable = () => prng.pick([0, PTE.R, PTE.R, PTE.R | PTE.W | PTE.D]);
  const execute = PTE.V | PTE.X | PTE.A;
  return {
    userBodies: run(prng.below(100), () => BigInt(execute | PTE.U | readable())),
    supervisorBodies: run(150 + prng.below(100), () => BigInt(execute | readable())),
    oddBodies: run(300 + prng.below(100), () => randomLeafFlags(prng)),
  };
}

function mapSmallPages(
  tables: TableWriter,
  prng: Prng,
  path: { readonly root: number; readonly middle: number; readonly middleIndex: number },
): DataMapping[] {
  const mappings: DataMapping[] = [];
  const fill = (table: number, middleIndex: number, first: number, count: number): void => {
    for (let index = first; index < first + count; index++) {
      // Every fifth page may be void, so that it is known which ones lie before them.
      const mayBeVoid = index % 5 === 0;
      const pageNumber =
        mayBeVoid && prng.oneIn(3)
          ? pageNumberOf(prng.pick(VOID_ADDRESSES))
          : pageNumberOf(DATA) + BigInt(prng.below(DATA_PAGES));
      mappings.push({
        virtualAddress: canonical([path.root, middleIndex, index]),
        entryAddress: tables.set(table, index, entry(pageNumber, randomLeafFlags(prng))),
        pageNumber,
        beforeVoid: ((index + 1) % 512) % 5 === 0,
        hopeless: false,
      });
    }
  };
  const lower = tables.allocate();
  const upper = tables.allocate();
  tables.pointTo(path.middle, path.middleIndex, lower);
  tables.pointTo(path.middle, path.middleIndex + 1, upper);
  fill(lower, path.middleIndex, 502, 10);
  fill(upper, path.middleIndex + 1, 0, 10);
  return mappings;
}

/** Superpages, right and misaligned, and entries that lead nowhere, at `middleIndex` and on. */
function mapOddEntries(
  tables: TableWriter,
  prng: Prng,
  path: { readonly root: number; readonly middle: number; readonly middleIndex: number },
): DataMapping[] {
  const first = path.middleIndex;
  const add = (index: number, pageNumber: bigint, flags: bigint): DataMapping => {
    const offset = ODD_DATA_OFFSET + BigInt(prng.below(DATA_PAGES) * PAGE_BYTES);
    return {
      virtualAddress: canonical([path.root, index, 0]) + offset,
      entryAddress: tables.set(path.middle, index, entry(pageNumber, flags)),
      pageNumber,
      beforeVoid: false,
      hopeless: index > first + 2,
    };
  };
  const region = pageNumberOf(REGION_BASE);
  const pointer = BigInt(PTE.V | prng.pick([PTE.U, PTE.A, PTE.D, PTE.W, PTE.G, 0]));
  return [
    add(first, region, randomLeafFlags(prng)),
    add(first + 1, region, randomLeafFlags(prng)),
    add(first + 2, pageNumberOf(DATA), randomLeafFlags(prng)),
    add(first + 3, region + (1n << BigInt(prng.below(9))), BigInt(ALL_ACCESS)),
    add(first + 4, pageNumberOf(prng.pick(VOID_ADDRESSES)), BigInt(PTE.V)),
    add(first + 5, pageNumberOf(TABLES), pointer),
    add(first + 6, 0n, 0n),
  ];
}

/** A root for Sv48 under which all addresses of the Sv39 table at `root` mean the same. */
function addLevel(tables: TableWriter, root: number): number {
  const top = tables.allocate();
  tables.pointTo(top, 0, root);
  tables.pointTo(top, 511, root);
  return top;
}

/** Builds one space in the table pages of `image`. */
function buildSpace(tables: TableWriter, prng: Prng, asid: number): AddressSpace {
  const root = tables.allocate();
  const region = pageNumberOf(REGION_BASE);
  tables.set(root, IDENTITY_INDEX, entry(region, BigInt(ALL_ACCESS | PTE.G)));
  const [bodyIndex = 0, dataIndex = 0, hugeIndex = 0, lostIndex = 0] = shuffled(prng, ROOT_INDICES);
  const bodies = mapBodies(tables, prng, root, bodyIndex);
  const middle = tables.allocate();
  tables.pointTo(root, dataIndex, middle);
  const middleIndex = prng.below(200);
  const path = { root: dataIndex, middle, middleIndex };
  const small = mapSmallPages(tables, prng, path);
  const odd = mapOddEntries(tables, prng, { ...path, middleIndex: middleIndex + 250 });
  const hugePage = prng.oneIn(4) ? region + 512n : region;
  const huge = {
    virtualAddress: canonical([hugeIndex, 0, 0]) + ODD_DATA_OFFSET,
    entryAddress: tables.set(root, hugeIndex, entry(hugePage, randomLeafFlags(prng))),
    pageNumber: hugePage,
    beforeVoid: false,
    hopeless: false,
  };
  const voidPage = pageNumberOf(prng.pick(VOID_ADDRESSES));
  const lost = {
    virtualAddress: canonical([lostIndex, 5, 5]),
    entryAddress: tables.set(root, lostIndex, entry(voidPage, BigInt(PTE.V))),
    pageNumber: voidPage,
    beforeVoid: false,
    hopeless: true,
  };
  const top = prng.oneIn(3) ? addLevel(tables, root) : undefined;
  const mode = top === undefined ? SATP_SV39 : SATP_SV48;
  return {
    satp: mode | (BigInt(asid) << 44n) | pageNumberOf(top ?? root),
    ...bodies,
    data: [...small, ...small, ...odd, huge, lost],
  };
}

/** Two spaces, told apart by their ASIDs. */
export function buildAddressSpaces(image: Uint8Array, prng: Prng): AddressSpace[] {
  const tables = new TableWriter(image);
  return [buildSpace(tables, prng, 1), buildSpace(tables, prng, 2)];
}

/** An address that Sv39 refuses: bits 63..39 differ from bit 38. */
export function nonCanonicalAddress(prng: Prng): bigint {
  const low = BigInt.asUintN(38, prng.u64());
  return prng.oneIn(2)
    ? low | (1n << BigInt(38 + prng.below(25)))
    : (prng.u64() | (1n << 63n)) & ~(1n << 38n);
}
