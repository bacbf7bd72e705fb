import { expect, test } from "vitest";
import { aptError } from "./apt-errors.ts";

test.each([
  ["E_PACKAGE_UNKNOWN", "E: Unable to locate package no-such-thing"],
  ["E_PACKAGE_UNKNOWN", "E: Package 'virtual-thing' has no installation candidate"],
  ["E_NO_NETWORK", "Err:1 http://x\nW: Failed to fetch http://x  Could not resolve 'x'\nE: Some"],
  ["E_NO_NETWORK", "E: Failed to fetch http://x  Could not connect to 127.0.0.1:9 - connect (111)"],
  ["E_DISK_FULL", "E: You don't have enough free space in /c/archives/."],
  ["E_DISK_FULL", "E: Write error - write (28: No space left on device)"],
  ["E_APT", "E: The repository 'http://x trixie InRelease' is not signed."],
  ["E_APT", "something else altogether"],
])("%s for %j", (code, stderr) => {
  expect(aptError("cannot read x", stderr)).toMatchObject({ code });
});

test("the message is one line that says what failed and what apt said of it", () => {
  const error = aptError("cannot resolve a b", "W: noise\nE: Broken packages\nE: more");
  expect(error.message).toBe("cannot resolve a b: Broken packages");
});
