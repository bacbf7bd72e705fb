import { expect, test } from "vitest";
import { secondsByKind } from "./engine-report.ts";

const node = (functionName: string, url: string, hitCount: number) => ({
  callFrame: { functionName, url },
  hitCount,
});

test("[EN5] samples count for the tier that their function belongs to", () => {
  const seconds = secondsByKind(
    [
      node("(root)", "", 5),
      node("(idle)", "", 1000),
      node("execute", "wasm://wasm/1", 10),
      node("region_3f", "wasm://wasm/2", 20),
      node("float.d.fma", "wasm://wasm/1", 1),
      node("walk", "wasm://wasm/1", 3),
      node("emit", "file:///x/machine/dist/hart/jit/translate.js", 4),
      node("byte", "file:///x/machine/dist/wasm/code.js", 2),
      node("(garbage collector)", "", 7),
    ],
    0.001,
  );
  expect(seconds.interpreter).toBeCloseTo(0.01);
  expect(seconds.translated).toBeCloseTo(0.021);
  expect(seconds.system).toBeCloseTo(0.003);
  expect(seconds.translation).toBeCloseTo(0.006);
  expect(seconds.other).toBeCloseTo(0.007);
});
