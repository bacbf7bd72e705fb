/** What this host's records say about who owns a machine, and who may bring it here. */
import type { OwnershipRecord } from "@dejavm/log-store";

/** The answer to `ask-owner` for the hand-over to `epoch`. */
export function ownerByRecords(
  history: readonly Pick<OwnershipRecord, "state" | "epoch">[],
  epoch: number,
): "live-here" | "not-here" | "moved-on" {
  const last = history.at(-1);
  if (last === undefined || last.epoch < epoch) return "not-here";
  switch (last.state) {
    case "live":
    case "ended":
      return "live-here";
    case "offering":
    case "moved":
      return "moved-on";
    case "receiving":
    case "copy":
      return "not-here";
  }
}

/**
 * Why an offer of a machine contradicts the records here; undefined: it may come. Whoever offers
 * has the epoch with which the machine lives there.
 */
export function offerRefusal(
  history: readonly Pick<OwnershipRecord, "state" | "epoch">[],
  epoch: number,
): "lives-here" | "outdated" | undefined {
  const last = history.at(-1);
  if (last === undefined) return undefined;
  switch (last.state) {
    case "live":
    case "ended":
    case "offering":
      return "lives-here";
    case "receiving":
    case "moved":
    case "copy":
      return epoch < last.epoch ? "outdated" : undefined;
  }
}
