import { once } from "node:events";
import { createServer } from "node:net";
import { expect, test } from "vitest";
import { freePort } from "./free-port.ts";

test("no port is given twice, none is taken, none is one that systems give out", async () => {
  const first = await freePort();
  const server = createServer().listen(first + 1, "127.0.0.1");
  await once(server, "listening");
  const others = [await freePort(), await freePort()];
  server.close();
  expect(new Set([first, first + 1, ...others]).size).toBe(4);
  for (const port of [first, ...others]) expect(port).toBeLessThan(32_768);
});
