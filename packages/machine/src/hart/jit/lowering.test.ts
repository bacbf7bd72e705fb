/**
 * What translation emits for short pieces of guest code: `lowering/NAME.s` has the code as words
 * and where computed jumps were seen to go, `lowering/NAME.wat` the function. After a change that
 * is meant, remove the `.wat` files: the test writes them anew. Read the difference.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import wabtModule from "wabt";
import { F_BASE, FIELD, memoryMap, X_BASE } from "../layout.ts";
import { regionModule } from "./region-module.ts";
import { findRegion, type JumpTarget } from "./shape.ts";

const FOLDER = join(import.meta.dirname, "lowering");
const NAMES = readdirSync(FOLDER)
  .filter((name) => name.endsWith(".s"))
  .map((name) => name.slice(0, -2));
const FEATURES = { tail_call: true, sign_extension: true, bulk_memory: true };
const HART = {
  map: memoryMap(1 << 20),
  floatState: { base: 0, fflags: 4, frm: 8, mode: 12 },
};

/** Code words of a `.s` file: `.2byte` and `.4byte` lines. */
function parse(text: string): Uint16Array {
  const page = new DataView(new ArrayBuffer(4096));
  let at = 0;
  for (const [, size, word] of text.matchAll(/^\t\.([24])byte 0x([0-9a-f]+)/gm)) {
    if (size === "2") page.setUint16(at, Number.parseInt(word ?? "", 16), true);
    else page.setUint32(at, Number.parseInt(word ?? "", 16), true);
    at += Number(size);
  }
  return new Uint16Array(page.buffer);
}

/** Targets of computed jumps: `# OFFSET jumps to OFFSET x WEIGHT, ...` lines, offsets in hex. */
function parseJumps(text: string): ReadonlyMap<number, readonly JumpTarget[]> {
  const jumps = new Map<number, readonly JumpTarget[]>();
  for (const [, from = "", targets = ""] of text.matchAll(/^# ([0-9a-f]+) jumps to (.+)$/gm)) {
    const seen = targets.split(", ").map((target): JumpTarget => {
      const [offset = "", weight] = target.split(" x ");
      return { offset: Number.parseInt(offset, 16), weight: Number(weight) };
    });
    jumps.set(Number.parseInt(from, 16), seen);
  }
  return jumps;
}

/** Names of what lies in the state block, by offset. */
const STATE = new Map<number, string>([
  ...Object.entries(FIELD).map(([name, { offset }]) => [offset, name] as const),
  ...Array.from({ length: 32 }, (_, i) => [X_BASE + i * 8, `x${i}`] as const),
  ...Array.from({ length: 32 }, (_, i) => [F_BASE + i * 8, `f${i}`] as const),
]);

/** The region's function as folded text, its calls by the names of what they call. */
async function lower(text: string): Promise<string> {
  const code = parse(text);
  const jumps = parseJumps(text);
  const jumpTargets = (offset: number): readonly JumpTarget[] => jumps.get(offset) ?? [];
  const limits = { belongs: () => true, isExcluded: () => false, jumpTargets };
  const blocks = findRegion(code, 0, limits);
  if (blocks === undefined) return "(; not translated ;)\n";
  const { bytes } = regionModule(HART, [{ place: 1, entry: 0, blocks }]);
  const wabt = await wabtModule();
  const module = wabt.readWasm(bytes, { ...FEATURES, readDebugNames: false });
  const wat = module.toText({ foldExprs: true, inlineExport: false });
  module.destroy();
  const names = new Map<string, string>();
  for (const [, name = "", index = ""] of wat.matchAll(
    /\(import "env" "([^"]+)" \(func \(;(\d+);\)/g,
  )) {
    names.set(index, name);
  }
  const own = wat.slice(wat.indexOf("\n  (func (;")).replace(/\n {2}\(elem.*$/s, "\n");
  return own
    .replaceAll(/call (\d+)\b/g, (whole, index: string) => {
      const name = names.get(index);
      return name === undefined ? whole : `call $${name}`;
    })
    .replaceAll(/offset=(\d+)(?=\n\s+\(i32\.const 0\))/g, (whole, offset: string) => {
      const name = STATE.get(Number(offset));
      return name === undefined ? whole : `offset=${name}`;
    })
    .replaceAll(/ ?\(;\d+;\)| \(type \d+\)/g, "");
}

test.each(NAMES)("[EN2] %s", async (name) => {
  const text = readFileSync(join(FOLDER, `${name}.s`), "utf8");
  await expect(await lower(text)).toMatchFileSnapshot(join(FOLDER, `${name}.wat`));
});
