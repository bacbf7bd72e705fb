import { expect, test } from "vitest";
import { Doorbell } from "./doorbell.ts";

test("a doorbell is heard at its other end until each message has come", () => {
  const ours = new Doorbell();
  const theirs = new Doorbell(ours.buffer);
  expect(theirs.isRung).toBe(false);
  ours.ring();
  ours.ring();
  theirs.answer();
  expect(theirs.isRung).toBe(true);
  theirs.answer();
  expect(theirs.isRung).toBe(false);
});
