/** Puts translated regions into a WebAssembly module that imports what they call of the hart. */
import { ModuleBuilder } from "../../wasm/module.ts";
import { importFloat } from "../float/float.ts";
import type { FloatState } from "../float/state.ts";
import { type MemoryMap, WASM_PAGE_BYTES } from "../layout.ts";
import type { Block } from "./shape.ts";
import { type TranslationFunctions, translateRegion } from "./translate.ts";

/** Regions that exist at once: indices into the table are 16 bits, 0 is none. */
export const MAX_REGIONS = 32_768;

/** One region and where it goes. */
export interface PlacedRegion {
  /** Index in the table. */
  readonly place: number;
  /** Offset in the page of its first instruction. */
  readonly entry: number;
  readonly blocks: ReadonlyMap<number, Block>;
}

/** The binary module, and for each region the budget that it wants at its entry. */
export function regionModule(
  { map, floatState }: { readonly map: MemoryMap; readonly floatState: FloatState },
  regions: readonly PlacedRegion[],
): { readonly bytes: Uint8Array<ArrayBuffer>; readonly needs: readonly number[] } {
  const pages = map.totalBytes / WASM_PAGE_BYTES;
  const m = new ModuleBuilder({ initialPages: pages, maximumPages: pages });
  m.importTable(MAX_REGIONS);
  const functions = importFunctions(m, floatState);
  const refs = regions.map(({ entry }) =>
    m.declare(`region_${(entry / 2).toString(16)}`, ["i64", "i32", "i32"], "i32"),
  );
  const needs: number[] = [];
  for (const [i, region] of regions.entries()) {
    m.define(refs[i], (f, ...params) => {
      needs[i] = translateRegion(f, params, { ...region, functions });
    });
    m.putInTable(region.place, refs[i]);
  }
  return { bytes: m.finish(), needs };
}

function importFunctions(m: ModuleBuilder, floatState: FloatState): TranslationFunctions {
  return {
    mmu: {
      loadSlow: m.import("load_slow", ["i64", "i32"], "i64"),
      storeSlow: m.import("store_slow", ["i64", "i64", "i32"]),
      loadForUpdateSlow: m.import("load_for_update_slow", ["i64", "i32"], "i64"),
      zeroBlock: m.import("zero_block", ["i64"]),
    },
    floatEnter: m.import("float_enter", ["i32"]),
    regions: {
      invoke: m.import("invoke", ["i64", "i32", "i32", "i64"], "i32"),
      resume: m.import("resume", ["i32", "i32", "i64"], "i32"),
      chain: m.import("chain", ["i64", "i32", "i32"], "i32"),
      leave: m.import("leave", ["i64", "i32", "i32"], "i32"),
      miss: m.import("miss", ["i64", "i32", "i32", "i32"], "i32"),
      leaveShort: m.import("leave_short", ["i64", "i32", "i32"], "i32"),
    },
    region: m.type(["i64", "i32", "i32"], "i32"),
    fp: importFloat(m, floatState),
  };
}
