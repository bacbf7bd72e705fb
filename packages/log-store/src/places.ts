/** Places of contents in a checkpoint, as numbers that sort: RAM pages first, then disk by disk. */

const AREA = 2 ** 32;

/** The place of a RAM page. */
export function pagePlace(page: number): number {
  return page;
}

/** The place of a disk's chunk. */
export function chunkPlace(disk: number, chunk: number): number {
  return (disk + 1) * AREA + chunk;
}

/** What `pagePlace` or `chunkPlace` made the place from; `disk` undefined: RAM. */
export function placeParts(place: number): { disk: number | undefined; index: number } {
  const area = Math.floor(place / AREA);
  return { disk: area === 0 ? undefined : area - 1, index: place % AREA };
}

/** True for places of disk chunks. */
export function isChunkPlace(place: number): boolean {
  return place >= AREA;
}
