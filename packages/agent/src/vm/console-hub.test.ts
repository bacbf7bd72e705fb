import { expect, test } from "vitest";
import { BACKLOG_BYTES, ConsoleHub } from "./console-hub.ts";

test("a reader sees what came lately, then what comes, until it detaches", () => {
  const hub = new ConsoleHub();
  hub.push(Buffer.from("before "));
  let seen = "";
  const detach = hub.attach((bytes) => {
    seen += Buffer.from(bytes).toString();
  });
  hub.push(Buffer.from("after"));
  detach();
  hub.push(Buffer.from("unseen"));
  expect(seen).toBe("before after");
  expect(hub.readers).toBe(0);
});

test("no more is kept than the backlog holds", () => {
  const hub = new ConsoleHub();
  for (let i = 0; i < 200; i++) hub.push(Buffer.alloc(1000, i));
  let size = 0;
  let last = -1;
  hub.attach((bytes) => {
    size += bytes.length;
    last = bytes.at(-1) ?? -1;
  });
  expect(size).toBe(BACKLOG_BYTES);
  expect(last).toBe(199);
});
