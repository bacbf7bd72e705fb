/** Moments of a recorded execution, as people write them. Pure. */
import { TIMEBASE_HZ } from "@dejavm/machine";
import type { ReplayGoal } from "@dejavm/source-agent";
import { usageError } from "../errors.ts";

const UNITS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600 };

/** What was recorded: positions from `first` to `last`. */
export interface RecordedSpan {
  readonly first: bigint;
  readonly last: bigint;
}

/**
 * `90s`, `1.5m`, `200ms`, `2h`: time since the guest was switched on. `1500000` or `15e5`: a
 * position. `50%`: of what is recorded. `end`.
 */
export function parseMoment(text: string, option: string, span: RecordedSpan): ReplayGoal {
  if (text === "end") return { kind: "end" };
  const time = /^(\d{1,9}(?:\.\d{1,9})?)(ms|s|m|h)$/.exec(text);
  const unit = UNITS[time?.[2] ?? ""];
  if (time !== null && unit !== undefined) {
    return { kind: "ticks", ticks: BigInt(Math.round(Number(time[1]) * unit * TIMEBASE_HZ)) };
  }
  const share = /^(\d{1,3}(?:\.\d{1,6})?)%$/.exec(text);
  if (share !== null && Number(share[1]) <= 100) {
    const millionths = BigInt(Math.round(Number(share[1]) * 10_000));
    const position = span.first + ((span.last - span.first) * millionths) / 1_000_000n;
    return { kind: "position", position };
  }
  const place = /^(\d{1,19})(?:e(\d{1,2}))?$/i.exec(text.replaceAll("_", ""));
  const position = place === null ? 0n : BigInt(place[1] ?? 0) * 10n ** BigInt(place[2] ?? 0);
  if (place !== null && position < 1n << 64n) return { kind: "position", position };
  throw usageError(
    `cannot use ${option} ${text}`,
    "want a time such as 90s or 1.5m, a position such as 15e8, a share such as 50%, or end",
  );
}
