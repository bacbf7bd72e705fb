/** Configurations of machines for programs of a few instructions: warming up, tests, benchmarks. */
import type { MachineConfig } from "./machine-types.ts";

const MEMORY_BYTES = 64 * 2 ** 20;

/**
 * A machine with this M-mode program, 64 MiB of RAM, and of devices only what every board has;
 * `more` says what is otherwise. The program is an image (ELF or flat), or 32-bit instructions.
 */
export function bareMachine(
  program: Uint8Array | readonly number[],
  more: Partial<Omit<MachineConfig, "boot">> = {},
): MachineConfig {
  const image =
    program instanceof Uint8Array ? program : new Uint8Array(Uint32Array.from(program).buffer);
  return {
    memoryBytes: MEMORY_BYTES,
    boot: { kind: "firmware", image, commandLine: "" },
    disks: [],
    net: undefined,
    entropySeed: new Uint8Array(32),
    wallTimeNs: 0n,
    ...more,
  };
}
