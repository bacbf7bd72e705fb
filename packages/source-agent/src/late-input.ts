/** Inputs that came too late for the machine here, as messages for the one at the target. */
import type { Message } from "@dejavm/protocol";
import type { ControlReport } from "@dejavm/vm";

type InputEvent = Extract<ControlReport, { kind: "late-input" }>["event"];

/** None for what concerns this host only: its clock, its entropy. */
export function lateInputOf(event: InputEvent): readonly Message[] {
  switch (event.kind) {
    case "console":
    case "frame":
    case "link":
    case "power-button":
      return [{ kind: "late-input", input: event }];
    case "clock":
    case "entropy":
      return [];
  }
}
