/** Collects what a request touches and what is absent, before anything is done. */
import type { Missing, MissingBlock } from "../device.ts";

/** The absent pages and disk chunks that a plan came across. */
export class Shortage {
  /** Guest physical page numbers. */
  readonly pages = new Set<number>();
  readonly blocks: MissingBlock[] = [];

  get any(): boolean {
    return this.pages.size > 0 || this.blocks.length > 0;
  }

  /** What a device answers; undefined if everything is there. */
  toMissing(): Missing | undefined {
    return this.any ? { pages: [...this.pages], blocks: this.blocks } : undefined;
  }
}
