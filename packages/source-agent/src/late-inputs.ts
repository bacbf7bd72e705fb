/** Inputs that came too late for the machine here: they wait for the one at the target. */
import type { Message } from "@dejavm/protocol";
import type { ControlReport } from "@dejavm/vm";

type InputEvent = Extract<ControlReport, { kind: "late-input" }>["event"];

/** Frames in all, as bytes: what is more is lost, as on any network. */
const MAX_FRAME_BYTES = 16 * 2 ** 20;

/** See the head of this file. */
export class LateInputs {
  #messages: Message[] = [];
  #frameBytes = 0;

  /** What concerns this host only, its clock and its entropy, is dropped. */
  add(event: InputEvent): void {
    switch (event.kind) {
      case "frame":
        this.#frameBytes += event.bytes.length;
        if (this.#frameBytes > MAX_FRAME_BYTES) return;
        break;
      case "console":
      case "link":
      case "power-button":
        break;
      case "clock":
      case "entropy":
        return;
    }
    this.#messages.push({ kind: "late-input", input: event });
  }

  /** As messages for the target, in order; they do not wait any more. */
  take(): readonly Message[] {
    const messages = this.#messages;
    this.#messages = [];
    return messages;
  }
}
