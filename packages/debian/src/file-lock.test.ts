import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, test } from "vitest";
import { withFileLock } from "./file-lock.ts";

let directory = "";
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "dejavm-lock-"));
});
afterEach(async () => {
  await rm(directory, { recursive: true });
});

test("bodies under one lock never overlap, also after one has thrown", async () => {
  const path = join(directory, "below", "lock");
  let inside = 0;
  let most = 0;
  const body = async (): Promise<void> => {
    inside++;
    most = Math.max(most, inside);
    await new Promise((resolve) => {
      setTimeout(resolve, 20);
    });
    inside--;
    if (most === 1) throw new Error("body");
  };
  const results = await Promise.allSettled([1, 2, 3].map(async () => withFileLock(path, body)));
  expect(results.map((each) => each.status)).toEqual(["rejected", "rejected", "rejected"]);
  expect(most).toBe(1);
});

test("waiting is reported", async () => {
  const path = join(directory, "lock");
  let release = (): void => {};
  const held = new Promise<void>((resolve) => {
    release = resolve;
  });
  let first: Promise<void> | undefined;
  await new Promise<void>((entered) => {
    first = withFileLock(path, async () => {
      entered();
      await held;
    });
  });
  const second = withFileLock(
    path,
    async () => "second",
    () => release(),
  );
  expect(await second).toBe("second");
  await first;
});

test("a lock that cannot be made is one clear error", async () => {
  const file = join(directory, "file");
  await writeFile(file, "");
  await expect(withFileLock(join(file, "lock"), async () => {})).rejects.toMatchObject({
    code: "E_CACHE_UNWRITABLE",
  });
});

test("a directory that the kernel refuses to make is one clear error", async () => {
  await expect(withFileLock("/proc/dejavm/below/lock", async () => {})).rejects.toMatchObject({
    code: "E_CACHE_UNWRITABLE",
  });
});
