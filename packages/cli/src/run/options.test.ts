import { describe, expect, test } from "vitest";
import { bootSource, type RunOptions } from "./options.ts";

const usage: unknown = expect.objectContaining({ code: "E_USAGE" });

function source(image: string | undefined, options: Partial<RunOptions>): unknown {
  try {
    return bootSource(image, { disk: [], ...options });
  } catch (error) {
    return error;
  }
}

describe("what a machine is made from", () => {
  test.each([
    ["debian", {}, "image"],
    [undefined, {}, "image"],
    [undefined, { kernel: "k", initrd: "i", append: "a" }, "kernel"],
    [undefined, { firmware: "f", kernel: "k" }, "firmware"],
    [undefined, { elf: "e", memory: "64M" }, "elf"],
    [undefined, { from: "s", disk: ["d"], net: "n", exec: "c" }, "snapshot"],
  ] as const)("%s with %j is %s", (image, options, expected) => {
    expect(source(image, options)).toBe(expected);
  });

  test.each([
    ["debian", { elf: "e" }],
    ["debian", { from: "s" }],
    ["debian", { kernel: "k" }],
    ["debian", { firmware: "f" }],
    [undefined, { elf: "e", from: "s" }],
    [undefined, { elf: "e", exec: "c" }],
    [undefined, { from: "s", memory: "1G" }],
    [undefined, { from: "s", seed: "1" }],
    [undefined, { initrd: "i" }],
  ] as const)("%s with %j is a usage error", (image, options) => {
    expect(source(image, options)).toEqual(usage);
  });
});
