/** Temporary directories and other things that a test closes at its end. */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach } from "vitest";

const closers: (() => unknown)[] = [];

/** `close` is called when the test is over, last one first. */
export function atEnd(close: () => unknown): void {
  closers.push(close);
}

/** A fresh directory, removed when the test is over. */
export function temporaryDirectory(): string {
  const path = mkdtempSync(join(tmpdir(), "dejavm-agent-"));
  atEnd(() => rmSync(path, { recursive: true }));
  return path;
}

afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close();
});
