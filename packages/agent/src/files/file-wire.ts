/**
 * How an agent gives another one the files that a machine is made of. One WebSocket between paired
 * agents; JSON in text messages. The sender begins with `wantSchema`. The receiver asks for one
 * file after the other with `nextSchema`, and ends with `completeSchema`. A file comes in binary
 * messages, each a zstd frame of its next CHUNK_BYTES, from `haveBytes` on; `takenSchema` tells how
 * far it is. The receiver's failure is a `failureSchema`, as on the control socket.
 */
import { z } from "zod";

/** Where such links are dialled. */
export const FILES_PATH = "/v1/files";
/** Plain bytes of one message; the last one of a file may have fewer. */
export const CHUNK_BYTES = 1024 * 1024;
/** Chunks that the receiver has not told of: more than a path of 1 Gbit/s and 100 ms holds. */
export const WINDOW_CHUNKS = 16;
const MAX_FILES = 12;
const MAX_FILE_BYTES = 2 ** 40;

/** What a file is to the machine. */
const FILE_ROLE = /^(disk[0-7]|kernel|initrd|firmware)$/;
const sha256 = z.string().regex(/^[0-9a-f]{64}$/);
const sizeBytes = z.int().min(0).max(MAX_FILE_BYTES);

/** A file of a machine, by content. */
export const fileSchema = z.strictObject({
  role: z.string().regex(FILE_ROLE),
  sha256,
  sizeBytes,
});
/** See `fileSchema`. */
export type FileName = z.infer<typeof fileSchema>;

/** What a machine needs; `lineage` names it. */
export const wantSchema = z.strictObject({
  lineage: z.string().max(100),
  files: z.array(fileSchema).max(MAX_FILES),
});
/** What is to come now, and how much of it is there already. */
export const nextSchema = z.strictObject({
  next: z.strictObject({ sha256, haveBytes: sizeBytes }),
});
/** So many bytes of the file that is under way are written. */
export const takenSchema = z.strictObject({ sha256, bytes: sizeBytes });
/** Every file is there, whole and durable. */
export const completeSchema = z.strictObject({ complete: z.literal(true) });
