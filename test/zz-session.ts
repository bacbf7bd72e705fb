import { createHash } from "node:crypto";
import { buildImage, imageSpec } from "@dejavm/image";
import { openGuest } from "./determinism/guest-files.ts";
import { recordSession, replaySession } from "./determinism/session.ts";

const { image } = await buildImage(imageSpec());
const files = openGuest({
  kernel: image.kernel,
  initrd: image.initrd,
  disk: image.disk,
  commandLine: image.manifest.commandLine,
});
const codecs = {
  sha256: (b: Uint8Array) => createHash("sha256").update(b).digest(),
  compress: (b: Uint8Array) => b,
  decompress: (b: Uint8Array) => b,
};
const secs = Number(process.argv[2]);
let t = performance.now(),
  c = process.cpuUsage();
const s = recordSession(files, secs, codecs);
const cu = () => {
  const u = process.cpuUsage(c);
  return (u.user + u.system) / 1e6;
};
console.log(
  "recorded",
  secs,
  "s in",
  (performance.now() - t) / 1000,
  "cpu",
  cu(),
  s.end,
  "bytes",
  s.segments.reduce((n, b) => n + b.length, 0),
  "segments",
  s.segments.length,
);
for (const engine of ["default", "interpreter"] as const) {
  t = performance.now();
  c = process.cpuUsage();
  const e = replaySession(files, s, { engine, slice: 1_000_000 }, codecs);
  console.log(
    "replayed",
    engine,
    (performance.now() - t) / 1000,
    "cpu",
    cu(),
    JSON.stringify(e) === JSON.stringify(s.end),
    e,
  );
}
