import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { NetStream, parseNetAddress } from "./net-stream.ts";

test("only stream:PATH and stream:tcp:HOST:PORT are addresses", () => {
  expect(parseNetAddress("stream:/run/x.sock")).toEqual({ path: "/run/x.sock" });
  const port = 5;
  expect(parseNetAddress("stream:tcp:1.2.3.4:5")).toEqual({ host: "1.2.3.4", port });
  for (const wrong of ["", "stream:", "tcp:1.2.3.4:5"]) {
    expect(() => parseNetAddress(wrong)).toThrow("network address");
  }
});

describe("network stream", () => {
  let directory = "";
  let server: Server | undefined;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "dejavm-net-"));
  });
  afterEach(() => {
    server?.close();
    rmSync(directory, { recursive: true });
  });

  function listen(path: string): Promise<Socket> {
    const { promise, resolve } = Promise.withResolvers<Socket>();
    server = createServer(resolve).listen(path);
    return promise;
  }

  test("dials until the helper is there, and again when it went", async () => {
    const path = join(directory, "net.sock");
    const links: boolean[] = [];
    const notices: string[] = [];
    const got = Promise.withResolvers<Uint8Array>();
    const stream = new NetStream(
      { path },
      {
        onFrame: got.resolve,
        onLink: (up) => links.push(up),
        onNotice: (line) => notices.push(line),
      },
    );
    await expect.poll(() => notices.length).toBe(1);
    const first = await listen(path);
    await expect.poll(() => links).toEqual([true]);
    const heard = Promise.withResolvers<Buffer>();
    first.once("data", (data) => heard.resolve(Buffer.from(data)));
    stream.send(Uint8Array.of(1, 2, 3));
    expect([...(await heard.promise)]).toEqual([0, 0, 0, 3, 1, 2, 3]);
    first.write(Uint8Array.of(0, 0, 0, 1, 9));
    expect([...(await got.promise)]).toEqual([9]);
    const again = Promise.withResolvers<Socket>();
    server?.on("connection", again.resolve);
    first.destroy();
    const second = await again.promise;
    await expect.poll(() => links).toEqual([true, false, true]);
    stream.close();
    second.destroy();
  });
});
