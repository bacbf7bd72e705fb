import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { PAGE_BYTES } from "../device/device.ts";
import { SavedPages, SlabPool } from "./saved-pages.ts";

const PAGES = 1200;
const content = (page: number): Uint8Array => new Prng(page).fill(new Uint8Array(PAGE_BYTES));

describe("saved pages", () => {
  test("[VM4] are given back as they were, each once, whatever the order", () => {
    const random = new Prng(7);
    const saved = new SavedPages(PAGES, new SlabPool());
    const kept = new Set<number>();
    for (let i = 0; i < 4000; i++) {
      const page = random.below(PAGES);
      if (!saved.isSettled(page)) {
        saved.keep(page, content(page));
        kept.add(page);
      } else if (kept.delete(page)) expect(saved.take(page)).toEqual(content(page));
      else expect(() => saved.take(page)).toThrow(/taken already/);
      expect(saved.size).toBe(kept.size);
    }
    for (const page of kept) expect(saved.take(page)).toEqual(content(page));
    expect(saved.size).toBe(0);
  });

  test("[VM4] a page that was taken before it was written is not kept", () => {
    const saved = new SavedPages(PAGES, new SlabPool());
    expect(saved.take(3)).toBeUndefined();
    expect(saved.isSettled(3)).toBe(true);
    expect(() => saved.keep(3, content(3))).toThrow(/was taken/);
  });

  test("[VM4] their memory is used again: within a reader, and by the next one", () => {
    const handedOut = new Set<Uint8Array>();
    class Counting extends SlabPool {
      override get(): Uint8Array {
        const slab = super.get();
        handedOut.add(slab);
        return slab;
      }
    }
    const pool = new Counting();
    const first = new SavedPages(PAGES, pool);
    for (let page = 0; page < PAGES; page++) {
      first.keep(page, content(page));
      if (page % 4 !== 0) first.take(page);
    }
    expect(handedOut.size).toBe(Math.ceil(PAGES / 4 / 256));
    first.release();
    expect(first.size).toBe(0);
    const second = new SavedPages(PAGES, pool);
    for (let page = 0; page < PAGES / 4; page++) second.keep(page, content(page));
    expect(handedOut.size).toBe(Math.ceil(PAGES / 4 / 256));
    for (let page = 0; page < PAGES / 4; page++) expect(second.take(page)).toEqual(content(page));
  });
});
