import { expect, test } from "vitest";
import { utf8 } from "./text.ts";

test.each([
  ["a\0", [0x61, 0]],
  ["é", [0xc3, 0xa9]],
  ["€", [0xe2, 0x82, 0xac]],
  ["😀", [0xf0, 0x9f, 0x98, 0x80]],
  ["\ud800", [0xef, 0xbf, 0xbd]],
])("%s in UTF-8", (text, bytes) => {
  expect([...utf8(text)]).toEqual(bytes);
});
