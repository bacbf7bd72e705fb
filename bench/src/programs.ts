/** The benchmark programs: bare M-mode programs in C, each in `guest/NAME.c`. */

/** A program and how much it does. */
export interface GuestProgram {
  readonly name: string;
  /** Scales the work, so that QEMU's plain TCG takes 0.5 to 1 s. */
  readonly rounds: number;
}

/** What is measured, in the order of the table. */
export const PROGRAMS: readonly GuestProgram[] = [
  { name: "hash", rounds: 12_000 },
  { name: "sort", rounds: 120 },
  { name: "chase", rounds: 25 },
  { name: "stream", rounds: 16 },
  { name: "calls", rounds: 300 },
  { name: "switch", rounds: 500 },
  { name: "float", rounds: 250 },
  { name: "syscall", rounds: 1000 },
  { name: "mix", rounds: 8000 },
];

/** Does nothing: its time is start-up, which is subtracted from the others' on each side. */
export const EMPTY_PROGRAM: GuestProgram = { name: "empty", rounds: 1 };
