/**
 * What the network benchmark's samples come to: medians, ratios, and why something is absent. A
 * ratio is the median of the rounds' own ratios: both values of such a one are of the same moment,
 * whatever else the host does at others.
 */
import { geometricMean, median } from "../stats.ts";
import type { GuestKind } from "./guests.ts";
import type { NetworkRow } from "./rows.ts";

/** One row: medians, and ratios above 1 where we are better; null where a side did not finish. */
export interface NetworkResultRow {
  readonly name: string;
  readonly unit: string;
  /** Our machine with our gateway. */
  readonly value: number | null;
  /** Our machine with QEMU's user network, through the stream seam. */
  readonly qemuSeam: number | null;
  /** The same guest in QEMU with its user network. */
  readonly qemu: number | null;
  /** Median over the rounds of `value` to `qemuSeam`. */
  readonly ratioSeam: number | null;
  readonly ratio: number | null;
  /** Why a value is null. */
  readonly failures: Readonly<Partial<Record<GuestKind, string>>>;
}

/** What `runNetworkBench` finds out. */
export interface NetworkBenchResult {
  readonly rows: readonly NetworkResultRow[];
  /** Of the rows that have the ratio; null where none has. */
  readonly geomeanRatioSeam: number | null;
  readonly geomeanRatio: number | null;
}

/** Values of one round by guest; those that were found out. */
export type Round = Readonly<Partial<Record<GuestKind, number>>>;

/** What was measured of one row. */
export class RowSamples {
  readonly #row: Pick<NetworkRow, "name" | "unit" | "higherIsBetter">;
  readonly #rounds: Round[] = [];
  readonly #failures: Partial<Record<GuestKind, string>> = {};

  constructor(row: Pick<NetworkRow, "name" | "unit" | "higherIsBetter">) {
    this.#row = row;
  }

  add(round: Round): void {
    this.#rounds.push(round);
  }

  /** Why a round has no value of this guest; the last one is told. */
  fail(kind: GuestKind, why: string): void {
    this.#failures[kind] = why;
  }

  result(): NetworkResultRow {
    const { name, unit } = this.#row;
    return {
      name,
      unit,
      value: this.#value("value"),
      qemuSeam: this.#value("qemuSeam"),
      qemu: this.#value("qemu"),
      ratioSeam: this.#ratioTo("qemuSeam"),
      ratio: this.#ratioTo("qemu"),
      failures: { ...this.#failures },
    };
  }

  #value(kind: GuestKind): number | null {
    return medianOf(this.#rounds.map((round) => round[kind]));
  }

  #ratioTo(kind: GuestKind): number | null {
    const ratios = this.#rounds.map(({ value, [kind]: other }) => {
      if (value === undefined || other === undefined) return undefined;
      return this.#row.higherIsBetter ? value / other : other / value;
    });
    return medianOf(ratios);
  }
}

/** All rows with their means. */
export function networkResult(samples: readonly RowSamples[]): NetworkBenchResult {
  const rows = samples.map((each) => each.result());
  const mean = (values: readonly (number | null)[]): number | null =>
    orNull(geometricMean(values.filter((value) => value !== null)));
  return {
    rows,
    geomeanRatioSeam: mean(rows.map(({ ratioSeam }) => ratioSeam)),
    geomeanRatio: mean(rows.map(({ ratio }) => ratio)),
  };
}

/** Null where none is known. */
function medianOf(values: readonly (number | undefined)[]): number | null {
  return orNull(median(values.filter((value) => value !== undefined)));
}

function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}
