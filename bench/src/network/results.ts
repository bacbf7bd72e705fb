/** What the network benchmark's samples come to: medians, ratios, and why something is absent. */
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

/** What was measured of one row. */
export class RowSamples {
  readonly #row: Pick<NetworkRow, "name" | "unit" | "higherIsBetter">;
  readonly #values: Readonly<Record<GuestKind, number[]>> = { value: [], qemuSeam: [], qemu: [] };
  readonly #failures: Partial<Record<GuestKind, string>> = {};

  constructor(row: Pick<NetworkRow, "name" | "unit" | "higherIsBetter">) {
    this.#row = row;
  }

  add(kind: GuestKind, value: number): void {
    this.#values[kind].push(value);
  }

  /** A round without a value; the median is of the others. */
  fail(kind: GuestKind, why: string): void {
    this.#failures[kind] = why;
  }

  result(): NetworkResultRow {
    const { name, unit, higherIsBetter } = this.#row;
    const of = (kind: GuestKind): number | null => orNull(median(this.#values[kind]));
    const [value, qemuSeam, qemu] = [of("value"), of("qemuSeam"), of("qemu")];
    const better = (other: number | null): number | null => {
      if (value === null || other === null) return null;
      return higherIsBetter ? value / other : other / value;
    };
    return {
      name,
      unit,
      value,
      qemuSeam,
      qemu,
      ratioSeam: better(qemuSeam),
      ratio: better(qemu),
      failures: { ...this.#failures },
    };
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

function orNull(value: number): number | null {
  return Number.isNaN(value) ? null : value;
}
