import { mkdtempSync, rmSync } from "node:fs";
import { createServer, type Server, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Prng } from "@dejavm/base";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import {
  FrameSplitter,
  framed,
  MAX_FRAME_BYTES,
  NetStream,
  parseNetAddress,
} from "./net-stream.ts";

describe("frame splitter", () => {
  test("frames come out whole however the stream is cut", () => {
    const prng = new Prng(7);
    const frames = Array.from({ length: 200 }, () => prng.fill(new Uint8Array(prng.below(1500))));
    const stream = Buffer.concat(frames.map(framed));
    const splitter = new FrameSplitter();
    const out: Uint8Array[] = [];
    for (let at = 0; at < stream.length; ) {
      const end = at + 1 + prng.below(700);
      out.push(...splitter.push(stream.subarray(at, end)));
      at = end;
    }
    expect(out.map((frame) => Buffer.from(frame).toString("hex"))).toEqual(
      frames.map((frame) => Buffer.from(frame).toString("hex")),
    );
  });

  test("a frame keeps its bytes", () => {
    expect([...framed(Uint8Array.of(7, 8))]).toEqual([0, 0, 0, 2, 7, 8]);
  });

  test.each([
    [MAX_FRAME_BYTES, false],
    [MAX_FRAME_BYTES + 1, true],
    [0xffff_ffff, true],
  ])("a length of %i is refused: %s", (length, refused) => {
    const head = Buffer.alloc(4);
    head.writeUInt32BE(length);
    const push = () => new FrameSplitter().push(head);
    if (refused) expect(push).toThrow(`a frame of ${length} bytes`);
    else expect(push()).toEqual([]);
  });
});

test("only stream:PATH is an address", () => {
  expect(parseNetAddress("stream:/run/x.sock")).toBe("/run/x.sock");
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
    const stream = new NetStream(path, {
      onFrame: got.resolve,
      onLink: (up) => links.push(up),
      onNotice: (line) => notices.push(line),
    });
    await expect.poll(() => notices.length).toBe(1);
    const first = await listen(path);
    await expect.poll(() => links).toEqual([true]);
    const heard = Promise.withResolvers<Buffer>();
    first.once("data", (data) => heard.resolve(Buffer.from(data)));
    stream.send(Uint8Array.of(1, 2, 3));
    expect([...(await heard.promise)]).toEqual([0, 0, 0, 3, 1, 2, 3]);
    first.write(framed(Uint8Array.of(9)));
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
