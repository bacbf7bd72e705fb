/**
 * Packs what migrations send on a thread of its own (`pack-worker.ts`), one for the process: it
 * keeps what it knows of the files that machines begin with. The thread is started by the first
 * use, and a process that waits for nothing else may end.
 */
import { AskedThread } from "@dejavm/vm";
import type { ChunksToPack, Packed, PagesToPack } from "./packing.ts";

/** To the thread; carried out in order. Those with an `id` are answered. */
export type MovePackRequest =
  | { readonly kind: "prepare"; readonly bases: readonly string[] }
  | { readonly kind: "open"; readonly move: number; readonly bases: readonly string[] }
  | { readonly kind: "close"; readonly move: number }
  | { readonly kind: "inventory"; readonly move: number; readonly prefixes: Uint8Array }
  | { readonly kind: "forget"; readonly move: number; readonly checkpoint: number }
  | ({ readonly kind: "pages"; readonly move: number; readonly id: number } & PagesToPack)
  | ({ readonly kind: "chunks"; readonly move: number; readonly id: number } & ChunksToPack)
  | ({ readonly kind: "again"; readonly move: number; readonly id: number } & Omit<
      PagesToPack,
      "bytes"
    >);

/** From the thread, in order of the requests. */
export interface MovePackAnswer {
  readonly id: number;
  readonly packed: Packed;
}

const thread = new AskedThread<MovePackRequest, MovePackAnswer>(import.meta.url, "./pack-worker");
let moves = 0;

async function packed(
  make: (id: number) => MovePackRequest,
  transfer: readonly ArrayBuffer[] = [],
): Promise<Packed> {
  return (await thread.ask(make, transfer)).packed;
}

/** Reads the files of a machine now, so that its migration finds them read. */
export function prepareBases(bases: readonly string[]): void {
  thread.post({ kind: "prepare", bases });
}

/** What one migration has packed. `close` it. */
export class MovePacker {
  readonly #move = ++moves;

  /** `bases`: files that the target has, too, as `image-refs` counts them; empty: none. */
  constructor(bases: readonly string[]) {
    thread.post({ kind: "open", move: this.#move, bases });
  }

  /** What the target has from earlier: 8 bytes of the sha256 of each page. */
  addInventory(prefixes: Uint8Array): void {
    thread.post({ kind: "inventory", move: this.#move, prefixes });
  }

  /** `bytes` are given away. */
  pages(wanted: PagesToPack): Promise<Packed> {
    const request = (id: number) => ({ kind: "pages" as const, move: this.#move, id, ...wanted });
    return packed(request, transfers(wanted.bytes));
  }

  /** `bytes` are given away. */
  chunks(wanted: ChunksToPack): Promise<Packed> {
    const request = (id: number) => ({ kind: "chunks" as const, move: this.#move, id, ...wanted });
    return packed(request, transfers(wanted.bytes));
  }

  /** Pages that were referred to, whole. */
  again(wanted: Omit<PagesToPack, "bytes">): Promise<Packed> {
    return packed((id) => ({ kind: "again", move: this.#move, id, ...wanted }), []);
  }

  forget(checkpoint: number): void {
    thread.post({ kind: "forget", move: this.#move, checkpoint });
  }

  close(): void {
    thread.post({ kind: "close", move: this.#move });
  }
}

function transfers(bytes: Uint8Array): readonly ArrayBuffer[] {
  const { buffer, length } = bytes;
  return buffer instanceof ArrayBuffer && buffer.byteLength === length ? [buffer] : [];
}
