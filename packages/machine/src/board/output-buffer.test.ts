import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import type { ConsolePort, Output } from "../device/device.ts";
import { OUTPUT_CHUNK_BYTES, OutputBuffer } from "./output-buffer.ts";

/** What the outside can tell: bytes per run of one port, and frames, in order. */
function content(outputs: readonly Output[]): string[] {
  const seen: string[] = [];
  let open: { readonly port: ConsolePort; text: string } | undefined;
  for (const output of outputs) {
    if (output.kind === "console" && output.port === open?.port) {
      open.text += `,${String(output.bytes)}`;
      continue;
    }
    if (open !== undefined) seen.push(`${open.port} ${open.text}`);
    open = undefined;
    if (output.kind === "console") open = { port: output.port, text: String(output.bytes) };
    else seen.push(`frame ${String(output.bytes)}`);
  }
  return open === undefined ? seen : [...seen, `${open.port} ${open.text}`];
}

describe("output buffer", () => {
  test("joins bytes of one port until flushed", () => {
    const out: Output[] = [];
    const buffer = new OutputBuffer((output) => out.push(output));
    for (const byte of [1, 2, 3]) {
      buffer.put({ kind: "console", port: "uart", bytes: Uint8Array.of(byte) });
    }
    expect(out).toEqual([]);
    buffer.flush();
    buffer.flush();
    expect(out).toEqual([{ kind: "console", port: "uart", bytes: Uint8Array.of(1, 2, 3) }]);
  });

  test("a full chunk leaves by itself", () => {
    const out: Output[] = [];
    const buffer = new OutputBuffer((output) => out.push(output));
    const byte = (): void => buffer.put({ kind: "console", port: "hvc", bytes: Uint8Array.of(7) });
    for (let i = 0; i < OUTPUT_CHUNK_BYTES; i++) byte();
    expect(out.length).toBe(0);
    byte();
    expect(out.map(({ bytes }) => bytes.length)).toEqual([OUTPUT_CHUNK_BYTES]);
  });

  test("content and order of random outputs are kept", () => {
    const prng = new Prng(0x0b);
    const put: Output[] = [];
    const out: Output[] = [];
    const buffer = new OutputBuffer((output) => out.push(output));
    for (let i = 0; i < 2000; i++) {
      const bytes = prng.fill(new Uint8Array(prng.oneIn(50) ? prng.below(9000) : prng.below(20)));
      const port = prng.pick(["uart", "hvc", "agent"] as const);
      const output: Output = prng.oneIn(5)
        ? { kind: "frame", bytes }
        : { kind: "console", port, bytes };
      put.push(output);
      buffer.put(output);
      if (prng.oneIn(100)) buffer.flush();
    }
    buffer.flush();
    const without = (outputs: readonly Output[]): Output[] =>
      outputs.filter(({ kind, bytes }) => kind === "frame" || bytes.length > 0);
    expect(content(without(out)).join("\n") === content(without(put)).join("\n")).toBe(true);
  });
});
