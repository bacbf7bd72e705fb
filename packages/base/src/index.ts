/** The public face of `@dejavm/base`: what every package may lean on. */
export { AssertionError, assert, unreachable } from "./assert.ts";
export type { Brand } from "./brand.ts";
export { ByteReader, ByteWriter, release, type TruncationError } from "./bytes.ts";
export { crc32 } from "./crc32.ts";
export { CodedError, type CodedErrorOptions } from "./errors.ts";
export { finishSum, pseudoSum, sumBytes, sumIsRight } from "./internet-checksum.ts";
export { Prng, type PrngState } from "./prng.ts";
