import { CodedError, Prng } from "@dejavm/base";
import { describe, expect, it } from "vitest";
import { type BulkMessage, bulkBodyBytes, MAX_GROUP_REFERENCES } from "./bulk.ts";
import { decodeFrame, encodeFrame, type Frame, type Message } from "./frame.ts";
import { MAX_GROUP_CHUNKS, MAX_GROUP_PAGES, MAX_PAGES, MAX_SEGMENT_BYTES } from "./limits.ts";
import { scanMessagePack } from "./msgpack-scan.ts";
import { decodePageSet, encodePageSet } from "./page-set.ts";

const SHA = new Uint8Array(32).fill(9);

const HELLO: Frame = {
  kind: "hello",
  magic: "dejavm",
  versions: { oldest: 1, newest: 1 },
  capabilities: ["a"],
  agent: "alpha",
  link: "l1",
  channel: 0,
  next: 0,
  known: false,
};

const COMMIT: Message = {
  kind: "commit",
  epoch: 2,
  position: 1234n,
  ticks: 99n,
  digest: "00112233445566778899aabbccddeeff",
  trace: { sequence: 17, position: 1234n, ticks: 99n, chain: SHA },
};

function bulk(message: BulkMessage, sequence = 1): Frame {
  return { kind: "message", sequence, message };
}

const FRAMES: readonly Frame[] = [
  HELLO,
  { kind: "ack", next: 4_000_000_000 },
  { kind: "ping", token: 7 },
  { kind: "pong", token: 7 },
  { kind: "message", sequence: 5, message: COMMIT },
  { kind: "message", sequence: 6, message: { kind: "segment", bytes: Uint8Array.of(1, 2, 3) } },
  {
    kind: "message",
    sequence: 7,
    message: { kind: "want", checkpoint: 0, pages: [1, 2], chunks: [[0, 77]] },
  },
  {
    kind: "message",
    sequence: 8,
    message: {
      kind: "refused",
      phase: "verify",
      reason: { code: "E_DIVERGED", message: "page 7 differs" },
    },
  },
  bulk({
    kind: "page-group",
    checkpoint: 1,
    codec: "raw",
    pages: [3, 5],
    data: new Uint8Array(8192).fill(3),
  }),
  bulk({ kind: "zero-pages", checkpoint: 1, pages: [0, 7] }),
  bulk({ kind: "page-refs", checkpoint: 1, refs: [{ page: 3, sha256: SHA }] }),
  bulk({ kind: "image-refs", checkpoint: 1, refs: [{ page: 3, disk: 0, block: 12 }] }),
  bulk({
    kind: "chunk-group",
    checkpoint: 0,
    codec: "zstd",
    layer: "overlay",
    chunks: [{ disk: 0, chunk: 9 }],
    data: Uint8Array.of(1, 2, 3, 4),
  }),
  bulk({ kind: "zero-chunks", checkpoint: 1, chunks: [{ disk: 0, chunk: 7 }] }),
  bulk({ kind: "chunk-refs", checkpoint: 0, refs: [{ disk: 1, chunk: 9, sha256: SHA }] }),
];

const BULK = /^(page|image|chunk|zero)-/;

function isBulk(frame: Frame): frame is Frame & { readonly message: BulkMessage } {
  return frame.kind === "message" && BULK.test(frame.message.kind);
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

/** The code with which a decoder refuses; undefined: it did not. */
function refusal(action: () => unknown): string | undefined {
  try {
    action();
    return undefined;
  } catch (error) {
    if (error instanceof CodedError) return String(error.code);
    throw error;
  }
}

describe("frames", () => {
  it.each(FRAMES.map((frame) => [frame.kind, frame] as const))(
    "[PC1] round trip: %s",
    (_, frame) => {
      expect(decodeFrame(encodeFrame(frame))).toEqual(frame);
    },
  );

  it("knows beforehand how long a bulk message is", () => {
    const bulks = FRAMES.filter(isBulk);
    expect(bulks).toHaveLength(7);
    for (const frame of bulks) {
      const { message } = frame;
      const bodyBytes = encodeFrame(frame).length - 5;
      expect([message.kind, bulkBodyBytes(message)]).toEqual([message.kind, bodyBytes]);
    }
  });

  it("[PC2] golden bytes", () => {
    expect(FRAMES.slice(1, 4).map((frame) => hex(encodeFrame(frame)))).toEqual([
      "0200286bee",
      "0307000000",
      "0407000000",
    ]);
    expect(hex(encodeFrame({ kind: "message", sequence: 5, message: COMMIT }))).toBe(
      "1005000000de0006a46b696e64a6636f6d6d6974a565706f636802a8706f736974696f6ed300000000000004d2" +
        "a57469636b73d30000000000000063a6646967657374d92030303131323233333434353536363737383839" +
        "39616162626363646465656666a57472616365de0004a873657175656e636511a8706f736974696f6ed300" +
        "000000000004d2a57469636b73d30000000000000063a5636861696ec420" +
        "09".repeat(32),
    );
    const refs: BulkMessage = {
      kind: "image-refs",
      checkpoint: 1,
      refs: [{ page: 3, disk: 0, block: 12 }],
    };
    expect(hex(encodeFrame(bulk(refs)))).toBe("2201000000010000000000010003000000000000000c000000");
    const group: BulkMessage = {
      kind: "chunk-group",
      checkpoint: 2,
      codec: "zstd",
      layer: "overlay",
      chunks: [{ disk: 1, chunk: 9 }],
      data: Uint8Array.of(0xaa),
    };
    expect(hex(encodeFrame(bulk(group)))).toBe(
      "23010000000200000001010100000001000100000009000000aa",
    );
  });

  it("[PC3] refuses every truncation and every byte too many", () => {
    for (const frame of FRAMES) {
      const bytes = encodeFrame(frame);
      const open = frame.kind === "message" && "bytes" in frame.message;
      const packed = frame.kind === "message" && "codec" in frame.message;
      for (let length = 0; length < bytes.length; length++) {
        // Segments and compressed data end where the message ends.
        if ((open && length > 5) || (packed && length > bytes.length - 8192)) continue;
        expect(refusal(() => decodeFrame(bytes.subarray(0, length)))).toBe("E_PROTOCOL_MALFORMED");
      }
      if (open || packed) continue;
      const longer = Uint8Array.of(...bytes, 0);
      expect(refusal(() => decodeFrame(longer))).toBe("E_PROTOCOL_MALFORMED");
    }
  });

  it("[PC3] never fails otherwise, whatever the bytes", () => {
    const seed = Math.floor(Math.random() * 2 ** 32);
    console.log(`fuzz seed ${seed}`);
    const prng = new Prng(seed);
    for (let i = 0; i < 20_000; i++) {
      const bytes = prng.oneIn(3)
        ? prng.fill(new Uint8Array(prng.below(60)))
        : encodeFrame(prng.pick(FRAMES)).slice(0, 400);
      for (let n = prng.below(4); n > 0 && bytes.length > 0; n--) {
        bytes[prng.below(bytes.length)] = prng.u32() & 0xff;
      }
      const code = refusal(() => decodeFrame(bytes));
      if (code !== undefined) expect(code).toBe("E_PROTOCOL_MALFORMED");
    }
  });

  it("[PC4] limits hold at their edges", () => {
    const pages = (count: number) => Array.from({ length: count }, (_, i) => i);
    const pageGroup = (count: number) =>
      bulk({
        kind: "page-group",
        checkpoint: 0,
        codec: "raw",
        pages: pages(count),
        data: new Uint8Array(count * 4096),
      });
    const chunkGroup = (count: number) =>
      bulk({
        kind: "chunk-group",
        checkpoint: 0,
        codec: "raw",
        layer: "base",
        chunks: pages(count).map((chunk) => ({ disk: 0, chunk })),
        data: new Uint8Array(count * 65_536),
      });
    const references = (count: number) =>
      bulk({
        kind: "page-refs",
        checkpoint: 0,
        refs: pages(count).map((page) => ({ page, sha256: SHA })),
      });
    const segment = (length: number): Frame => ({
      kind: "message",
      sequence: 0,
      message: { kind: "segment", bytes: new Uint8Array(length) },
    });
    const want = (page: number): Frame => ({
      kind: "message",
      sequence: 0,
      message: { kind: "want", checkpoint: 0, pages: [page], chunks: [] },
    });
    const edges: [(n: number) => Frame, number][] = [
      [pageGroup, MAX_GROUP_PAGES],
      [chunkGroup, MAX_GROUP_CHUNKS],
      [references, MAX_GROUP_REFERENCES],
      [segment, MAX_SEGMENT_BYTES],
      [want, MAX_PAGES - 1],
    ];
    for (const [make, limit] of edges) {
      expect(refusal(() => decodeFrame(encodeFrame(make(limit - 1))))).toBe(undefined);
      expect(refusal(() => decodeFrame(encodeFrame(make(limit))))).toBe(undefined);
      expect(refusal(() => decodeFrame(encodeFrame(make(limit + 1))))).toBe("E_PROTOCOL_MALFORMED");
    }
  });
});

describe("MessagePack scan", () => {
  const refused: [string, number[]][] = [
    ["record definition", [0xd4, 0x72, 0x40]],
    ["extension", [0xc7, 1, 5, 0]],
    ["timestamp", [0xd6, 0xff, 0, 0, 0, 0]],
    ["never used tag", [0xc1]],
    ["false array length", [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ["false map length", [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ["false string length", [0xdb, 0xff, 0xff, 0xff, 0xff]],
    ["too deep", [...Array.from({ length: 9 }, () => 0x91), 0xc0]],
    ["key that is no string", [0x81, 0x01, 0x01]],
    ["two values", [0xc0, 0xc0]],
    ["nothing", []],
  ];
  it.each(refused)("[PC5] refuses: %s", (_, bytes) => {
    expect(refusal(() => scanMessagePack(Uint8Array.from(bytes)))).toBe("E_PROTOCOL_MALFORMED");
  });

  it("[PC5] bounds values in all", () => {
    const array = (count: number) => {
      const bytes = new Uint8Array(5 + count).fill(0xc0);
      bytes.set([0xdd, count >>> 24, (count >>> 16) & 0xff, (count >>> 8) & 0xff, count & 0xff]);
      return bytes;
    };
    expect(refusal(() => scanMessagePack(array(65_535)))).toBe(undefined);
    expect(refusal(() => scanMessagePack(array(65_536)))).toBe("E_PROTOCOL_MALFORMED");
  });
});

describe("page sets", () => {
  it("[PC6] round trip, in one encoding only", () => {
    const prng = new Prng(3);
    for (let i = 0; i < 300; i++) {
      const pages = [];
      for (
        let page = prng.below(100);
        page < 5000;
        page += 1 + (prng.oneIn(3) ? prng.below(90) : 0)
      ) {
        pages.push(page);
      }
      const bytes = encodePageSet(pages);
      expect([...decodePageSet(bytes, 5000)]).toEqual(pages);
      const flipped = bytes.slice();
      const at = prng.below(flipped.length);
      flipped[at] = (flipped[at] ?? 0) ^ (1 << prng.below(8));
      const code = refusal(() => {
        expect(hex(encodePageSet(decodePageSet(flipped, 5000)))).toBe(hex(flipped));
      });
      if (code !== undefined) expect(code).toBe("E_PROTOCOL_MALFORMED");
    }
    expect(refusal(() => decodePageSet(encodePageSet([99]), 99))).toBe("E_PROTOCOL_MALFORMED");
    expect(refusal(() => decodePageSet(encodePageSet([98]), 99))).toBe(undefined);
  });
});
