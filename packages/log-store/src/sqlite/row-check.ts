/**
 * A checksum over the fields of a row. SQLite has none of its own, so this is how a flipped bit in
 * a name or an epoch is found; traces and contents have stronger ones.
 */
import { crc32 } from "node:zlib";

/** What a column holds. */
export type ColumnValue = string | number | bigint | Uint8Array | null;

/** CRC-32 over the values with their types and lengths. */
export function rowCheck(values: readonly ColumnValue[]): number {
  let crc = 0;
  for (const value of values) {
    const bytes = value instanceof Uint8Array ? value : Buffer.from(String(value));
    const kind =
      value instanceof Uint8Array
        ? "b"
        : value === null
          ? "0"
          : typeof value === "string"
            ? "s"
            : "i";
    crc = crc32(bytes, crc32(`${kind}${bytes.length}:`, crc));
  }
  return crc;
}
