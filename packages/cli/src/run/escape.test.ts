import { describe, expect, test } from "vitest";
import { EscapeParser, type Typed } from "./escape.ts";

const bytes = (text: string): Typed => ({ kind: "bytes", bytes: Buffer.from(text, "latin1") });
const command = (name: string) => ({ kind: "command", command: name });

function parse(...parts: string[]): unknown[] {
  const parser = new EscapeParser();
  return parts
    .flatMap((part) => parser.push(Buffer.from(part, "latin1")))
    .map((item) =>
      item.kind === "bytes" ? bytes(Buffer.from(item.bytes).toString("latin1")) : item,
    );
}

describe("console escape", () => {
  test("what is typed is the guest's, Ctrl-C and Ctrl-D too", () => {
    expect(parse("ls\r\x03\x04\xff")).toEqual([bytes("ls\r\x03\x04\xff")]);
  });

  test.each([
    ["x", "quit"],
    ["h", "help"],
    ["?", "help"],
    ["s", "save"],
    ["p", "power"],
    ["i", "info"],
    ["Z", "help"],
  ])("Ctrl-A %s is %s", (key, name) => {
    expect(parse(`a\x01${key}b`)).toEqual([bytes("a"), command(name), bytes("b")]);
  });

  test("Ctrl-A a and Ctrl-A Ctrl-A send Ctrl-A", () => {
    expect(parse("1\x01a2\x01\x013")).toEqual([bytes("1\x012\x013")]);
  });

  test("a key may come later than its Ctrl-A", () => {
    expect(parse("a\x01", "x")).toEqual([bytes("a"), command("quit")]);
  });
});
