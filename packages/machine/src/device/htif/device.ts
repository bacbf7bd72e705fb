/**
 * HTIF for bare-metal programs: exit, console output, and the two system calls that test programs
 * make. It has no registers: the machine calls `poll` after a store into the `tohost` word, at
 * the next instruction boundary. Stateless.
 */
import { assert } from "@dejavm/base";
import type { GuestMemory, Missing, OutputSink } from "../device.ts";
import * as wire from "./wire.ts";

/** Bytes that one `write` call passes on at most; it then returns a smaller count. */
export const HTIF_WRITE_BYTES = 65_536;

/** What the machine is to do after `poll`. */
export type HtifResult =
  | { readonly kind: "continue" }
  /** The program ended; 0 is success. An integer below 2^48. */
  | { readonly kind: "exit"; readonly status: number }
  /** Nothing has happened; poll again once this is there. */
  | { readonly kind: "missing"; readonly missing: Missing };

/** What a value in `tohost` asks for. */
export type HtifCommand =
  | { readonly kind: "nothing" }
  | { readonly kind: "exit"; readonly status: number }
  | { readonly kind: "put-character"; readonly byte: number }
  /** `address` is guest physical. */
  | { readonly kind: "syscall"; readonly address: number };

/** Decodes the word; devices and commands that we do not have ask for nothing. */
export function decodeTohost(value: bigint): HtifCommand {
  const device = (value >> wire.DEVICE_SHIFT) & wire.BYTE_MASK;
  const command = (value >> wire.COMMAND_SHIFT) & wire.BYTE_MASK;
  const payload = value & wire.PAYLOAD_MASK;
  if (device === wire.DEVICE_CONSOLE && command === wire.COMMAND_PUT_CHARACTER) {
    return { kind: "put-character", byte: Number(payload & wire.BYTE_MASK) };
  }
  if (device !== wire.DEVICE_SYSCALL || payload === 0n) return { kind: "nothing" };
  if ((payload & 1n) === 1n) return { kind: "exit", status: Number(payload >> 1n) };
  return { kind: "syscall", address: Number(payload) };
}

/** See the head of this file. */
export class Htif {
  readonly #memory: GuestMemory;
  readonly #output: OutputSink;
  readonly #tohost: number;
  readonly #fromhost: number | undefined;

  /** `tohost` and `fromhost` are guest physical addresses of 8-byte words, both within RAM. */
  constructor(options: {
    readonly memory: GuestMemory;
    readonly output: OutputSink;
    readonly tohost: number;
    readonly fromhost?: number | undefined;
  }) {
    this.#memory = options.memory;
    this.#output = options.output;
    this.#tohost = options.tohost;
    this.#fromhost = options.fromhost;
  }

  /** Carries out what `tohost` holds and clears it. */
  poll(): HtifResult {
    const missing = new Set<number>();
    for (const word of [this.#tohost, this.#fromhost ?? this.#tohost]) {
      assert(this.#memory.probe(word, 8, missing), "HTIF words lie in RAM");
    }
    if (missing.size > 0) return missingPages(missing);
    const value = this.#memory.readU64(this.#tohost);
    if (value === 0n) return { kind: "continue" };
    const command = decodeTohost(value);
    if (command.kind === "syscall") return this.#syscall(command.address);
    this.#writeU64(this.#tohost, 0n);
    if (command.kind === "exit") return command;
    if (command.kind === "put-character") this.#print(Uint8Array.of(command.byte));
    return { kind: "continue" };
  }

  #syscall(block: number): HtifResult {
    const missing = new Set<number>();
    if (!this.#memory.probe(block, wire.SYSCALL_BLOCK_BYTES, missing)) {
      this.#writeU64(this.#tohost, 0n);
      return { kind: "continue" };
    }
    if (missing.size > 0) return missingPages(missing);
    const word = (index: number): bigint => this.#memory.readU64(block + 8 * index);
    const number = word(0);
    let result = wire.ERROR_NO_SYSCALL;
    if (number === wire.SYS_WRITE) {
      const address = Number(word(2));
      const length = Math.min(Number(word(3)), HTIF_WRITE_BYTES);
      if (!this.#memory.probe(address, length, missing)) result = wire.ERROR_FAULT;
      else if (missing.size > 0) return missingPages(missing);
      else {
        if (length > 0) this.#print(this.#memory.view(address, length).slice());
        result = BigInt(length);
      }
    }
    const status = Number(word(1) & wire.PAYLOAD_MASK);
    this.#writeU64(block, result);
    this.#writeU64(this.#tohost, 0n);
    if (this.#fromhost !== undefined) this.#writeU64(this.#fromhost, BigInt(wire.SYSCALL_DONE));
    return number === wire.SYS_EXIT ? { kind: "exit", status } : { kind: "continue" };
  }

  #print(bytes: Uint8Array): void {
    this.#output({ kind: "console", port: "uart", bytes });
  }

  #writeU64(address: number, value: bigint): void {
    this.#memory.writeU32(address, Number(BigInt.asUintN(32, value)));
    this.#memory.writeU32(address + 4, Number(BigInt.asUintN(32, value >> 32n)));
  }
}

function missingPages(pages: ReadonlySet<number>): HtifResult {
  return { kind: "missing", missing: { pages: [...pages], blocks: [] } };
}
