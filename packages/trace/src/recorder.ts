/**
 * What a live machine goes through so that its execution can be repeated: inputs are given here
 * and written down with the place at which they happened.
 */
import type { InputEvent, InputResult, Place, Ticks } from "@dejavm/machine";
import type { TraceEnd } from "./record.ts";
import type { TraceWriter } from "./writer.ts";

/** What recording needs of a machine; `Machine` of @dejavm/machine has it. */
export interface RecordableMachine {
  readonly place: Place;
  readonly ticks: Ticks;
  input(event: InputEvent, at?: Ticks): InputResult;
  digest(): string;
}

/** Writes down one machine's execution; see the head of this file. */
export class Recorder {
  readonly #machine: RecordableMachine;
  readonly #writer: TraceWriter;

  constructor(options: { readonly machine: RecordableMachine; readonly writer: TraceWriter }) {
    this.#machine = options.machine;
    this.#writer = options.writer;
  }

  /**
   * `Machine.input`, written down once it is accepted. What was answered with something missing
   * has not happened, and is given again.
   */
  input(event: InputEvent, at?: Ticks): InputResult {
    const machine = this.#machine;
    const place = machine.place;
    const result = at === undefined ? machine.input(event) : machine.input(event, at);
    if (result.kind === "accepted") {
      const idleTicks = place.idleTicks === undefined ? undefined : (at ?? place.idleTicks);
      this.#writer.append({ kind: "input", position: place.position, idleTicks, event });
    }
    return result;
  }

  /** The machine is here; what comes later happens later. */
  frontier(): void {
    this.#writer.append({ kind: "frontier", ...this.#machine.place });
  }

  /** Takes a digest, which costs what was written since the last one, and writes it down. */
  digest(): string {
    const digest = this.#machine.digest();
    this.#writer.append({ kind: "digest", ...this.#machine.place, digest });
    return digest;
  }

  /** The stretch of execution ends here. */
  end(end: TraceEnd): void {
    this.#writer.append({ kind: "end", ...this.#machine.place, end });
  }
}
