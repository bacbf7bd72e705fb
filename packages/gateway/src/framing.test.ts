import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { FrameSplitter, lengthPrefix } from "./framing.ts";
import { MAX_FRAME_BYTES } from "./gateway-core.ts";

const framed = (frame: Uint8Array) => Buffer.concat([lengthPrefix(frame), frame]);

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
