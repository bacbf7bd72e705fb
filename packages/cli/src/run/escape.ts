/**
 * The console's escape key, Ctrl-A, as in QEMU and screen. Pure: takes what was typed apart into
 * what is for the guest and what is for us.
 */

export type ConsoleCommand = "quit" | "help" | "save" | "power" | "info";

/** A part of what was typed. */
export type Typed =
  | { readonly kind: "bytes"; readonly bytes: Uint8Array }
  | { readonly kind: "command"; readonly command: ConsoleCommand };

const ESCAPE = 0x01;

const COMMANDS: ReadonlyMap<number, ConsoleCommand> = new Map([
  [0x78, "quit"],
  [0x68, "help"],
  [0x3f, "help"],
  [0x73, "save"],
  [0x70, "power"],
  [0x69, "info"],
]);

/** Shown by Ctrl-A h. */
export const ESCAPE_HELP = [
  "Ctrl-A x  quit: the machine ends here, as if its power was cut",
  "Ctrl-A p  press the machine's power button",
  "Ctrl-A s  save a snapshot; the machine goes on",
  "Ctrl-A i  say where the machine is",
  "Ctrl-A a  send Ctrl-A itself (Ctrl-A Ctrl-A does, too)",
  "Ctrl-A h  this help",
];

/** See the head of this file; remembers a Ctrl-A between two calls. */
export class EscapeParser {
  #escaped = false;

  /** Takes apart what was typed, in order. An unknown key after Ctrl-A gives the help. */
  push(input: Uint8Array): Typed[] {
    const out: Typed[] = [];
    let plain: number[] = [];
    const flush = (): void => {
      if (plain.length > 0) out.push({ kind: "bytes", bytes: Uint8Array.from(plain) });
      plain = [];
    };
    for (const byte of input) {
      if (!this.#escaped) {
        if (byte === ESCAPE) this.#escaped = true;
        else plain.push(byte);
        continue;
      }
      this.#escaped = false;
      if (byte === ESCAPE || byte === 0x61) {
        plain.push(ESCAPE);
        continue;
      }
      flush();
      out.push({ kind: "command", command: COMMANDS.get(byte) ?? "help" });
    }
    flush();
    return out;
  }
}
