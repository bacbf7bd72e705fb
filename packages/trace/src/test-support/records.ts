/** Random traces for tests, and the codecs of the host. */
import { createHash } from "node:crypto";
import { zstdCompressSync, zstdDecompressSync } from "node:zlib";
import type { Prng } from "@dejavm/base";
import { type InputEvent, position, ticks } from "@dejavm/machine";
import type { TraceCodecs } from "../codecs.ts";
import type { TraceRecord } from "../record.ts";

/** sha256 and zstd of Node. */
export const CODECS: TraceCodecs = {
  sha256: (bytes) => createHash("sha256").update(bytes).digest(),
  compress: (bytes) => zstdCompressSync(bytes),
  decompress: (bytes, plainBytes) => {
    const plain = zstdDecompressSync(bytes, { maxOutputLength: plainBytes });
    if (plain.length !== plainBytes) throw new Error(`${plain.length} bytes`);
    return plain;
  },
};

function randomEvent(random: Prng): InputEvent {
  const bytes = (most: number): Uint8Array => random.fill(new Uint8Array(random.below(most)));
  switch (random.below(6)) {
    case 0:
      return { kind: "console", port: random.pick(["uart", "hvc", "agent"]), bytes: bytes(20) };
    case 1:
      return { kind: "frame", bytes: bytes(200) };
    case 2:
      return { kind: "clock", rate: random.u64() >> 28n, step: BigInt(random.below(1000)) };
    case 3:
      return { kind: "entropy", seed: random.fill(new Uint8Array(32)) };
    case 4:
      return { kind: "power-button" };
    default:
      return { kind: "link", up: random.oneIn(2) };
  }
}

/** `count` records of every kind but the end, in order. */
export function randomRecords(random: Prng, count: number): TraceRecord[] {
  let [at, time] = [0n, 0n];
  return Array.from({ length: count }, () => {
    at += random.oneIn(3) ? 0n : random.u64() >> BigInt(20 + random.below(43));
    const idle = random.oneIn(3);
    if (idle) time += random.u64() >> BigInt(20 + random.below(43));
    const place = { position: position(at), idleTicks: idle ? ticks(time) : undefined };
    switch (random.below(5)) {
      case 0:
        return { kind: "frontier", ...place };
      case 1:
        return { kind: "digest", ...place, digest: random.u64().toString(16).padStart(32, "0") };
      default:
        return { kind: "input", ...place, event: randomEvent(random) };
    }
  });
}
