/**
 * Which places of the function table hold regions, and how many bytes of WebAssembly their modules
 * have. A module's code stays in the host's memory until the last of its regions has gone.
 */
interface Module {
  readonly bytes: number;
  regions: number;
}

/** See the head of this file. */
export class CodeMemory {
  readonly #maxRegions: number;
  readonly #maxBytes: number;
  readonly #free: number[] = [];
  readonly #moduleOf = new Map<number, Module>();
  /** Place 0 stays empty: it means that there is no region. */
  #next = 1;
  #bytes = 0;

  /** `maxRegions`: places of the table; `maxBytes`: of WebAssembly that are kept at once. */
  constructor({ maxRegions, maxBytes }: { maxRegions: number; maxBytes: number }) {
    this.#maxRegions = maxRegions;
    this.#maxBytes = maxBytes;
  }

  /** Bytes of the modules that still have regions. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Places for a module's regions; undefined: there is no room. */
  reserve(count: number): readonly number[] | undefined {
    const isFull = this.#next - this.#free.length + count > this.#maxRegions;
    if (isFull || this.#bytes >= this.#maxBytes) return undefined;
    return Array.from({ length: count }, () => this.#free.pop() ?? this.#next++);
  }

  /** The reserved places now hold the regions of a module of so many bytes. */
  fill(places: readonly number[], bytes: number): void {
    const module: Module = { bytes, regions: places.length };
    for (const place of places) this.#moduleOf.set(place, module);
    this.#bytes += bytes;
  }

  /** These places are free again. */
  release(places: readonly number[]): void {
    for (const place of places) {
      this.#free.push(place);
      const module = this.#moduleOf.get(place);
      this.#moduleOf.delete(place);
      if (module !== undefined && --module.regions === 0) this.#bytes -= module.bytes;
    }
  }
}
