/** Turns the text of options into values; throws E_USAGE with the option's name. Pure. */
import { usageError } from "./errors.ts";

const UNITS: Readonly<Record<string, number>> = { K: 2 ** 10, M: 2 ** 20, G: 2 ** 30 };

/** `256M`, `1G`, `98304K`: bytes. */
export function parseSize(text: string, option: string): number {
  const match = /^(\d{1,9})([KMG])(i?B)?$/i.exec(text);
  const unit = UNITS[match?.[2]?.toUpperCase() ?? ""];
  if (match === null || unit === undefined) {
    throw usageError(`cannot use ${option} ${text}`, "want a number and K, M or G, such as 256M");
  }
  return Number(match[1]) * unit;
}

/** A whole number from 1, with underscores or an exponent as people write it: `5_000`, `1e9`. */
export function parseCount(text: string, option: string): bigint {
  const match = /^(\d{1,18})(?:e(\d{1,2}))?$/i.exec(text.replaceAll("_", ""));
  const value = match === null ? 0n : BigInt(match[1] ?? 0) * 10n ** BigInt(match[2] ?? 0);
  if (value < 1n || value >= 1n << 63n) {
    throw usageError(`cannot use ${option} ${text}`, "want a whole number from 1, such as 1e9");
  }
  return value;
}

/** `now` or a date in ISO 8601: nanoseconds since 1970. */
export function parseWallTime(text: string, nowMs: number): bigint {
  const ms = text === "now" ? nowMs : Date.parse(text);
  if (Number.isNaN(ms) || ms < 0) {
    throw usageError(
      `cannot use --wall-time ${text}`,
      "want `now` or a date such as 2026-01-31T12:00:00Z",
    );
  }
  return BigInt(Math.round(ms)) * 1_000_000n;
}
