/**
 * Unpacks what migrations receive on a thread of its own (`unpack-worker.ts`), one for the process.
 * It is started by the first use, and a process that waits for nothing else may end.
 */
import { CodedError } from "@dejavm/base";
import { AskedThread } from "@dejavm/vm";
import type { PageMessage, UnpackedPages } from "./unpacking.ts";

/** To the thread; carried out in order. */
export type MoveUnpackRequest =
  | { readonly kind: "open"; readonly move: number; readonly bases: readonly string[] }
  | { readonly kind: "close"; readonly move: number }
  | {
      readonly kind: "unpack";
      readonly move: number;
      readonly id: number;
      readonly message: PageMessage;
    };

/** From the thread, in order of the requests. */
export type MoveUnpackAnswer =
  | { readonly kind: "unpacked"; readonly id: number; readonly unpacked: UnpackedPages }
  | { readonly kind: "failed"; readonly id: number; readonly code: string; readonly text: string };

const thread = new AskedThread<MoveUnpackRequest, MoveUnpackAnswer>(
  import.meta.url,
  "./unpack-worker",
);
let moves = 0;

/** Starts the thread now, so that a migration finds it ready. */
export function prepareUnpacker(): void {
  thread.prepare();
}

/** What one migration unpacks. `close` it. */
export class MoveUnpacker {
  readonly #move = ++moves;

  /** `bases`: the files that the machine began with here, as `image-refs` counts them. */
  constructor(bases: readonly string[]) {
    thread.post({ kind: "open", move: this.#move, bases });
  }

  /** Rejects with E_PROTOCOL_MALFORMED. */
  async unpack(message: PageMessage): Promise<UnpackedPages> {
    const [own, transfer] = giveable(message);
    const move = this.#move;
    const answer = await thread.ask((id) => ({ kind: "unpack", move, id, message: own }), transfer);
    if (answer.kind === "failed") throw new CodedError(answer.code, answer.text);
    return answer.unpacked;
  }

  close(): void {
    thread.post({ kind: "close", move: this.#move });
  }
}

/** A view of what came from the socket: only its own bytes go over. */
function giveable(message: PageMessage): [PageMessage, readonly ArrayBuffer[]] {
  if (message.kind === "image-refs") return [message, []];
  const data = message.data.slice();
  return [{ ...message, data }, [data.buffer]];
}
