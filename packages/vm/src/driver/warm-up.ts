/**
 * Runs a machine that nobody needs, so that the next one of its size in this thread begins fast:
 * the hart's module is compiled, and V8 has optimized what every guest uses. What it did is
 * forgotten; the module is kept by the machine's package.
 */
import { bareMachine, Machine, NO_JIT, position } from "@dejavm/machine";
import { dispatchHere } from "./dispatch.ts";

/**
 * Counts, loads, stores, branches and calls for ever, in M-mode:
 *
 *     auipc s0, 0x10
 *     addi a0, a0, 1 ; andi a1, a0, 255 ; slli a1, a1, 3 ; add a1, a1, s0
 *     ld a2, 0(a1) ; add a2, a2, a0 ; sd a2, 0(a1) ; lw a3, 4(a1) ; xor a3, a3, a2
 *     bge a3, a0, .+8 ; sub a3, a3, a0
 *     jal ra, .+8 ; j .-44
 *     sltu a4, a3, a0 ; srli a3, a3, 1 ; ret
 */
const PROGRAM = [
  0x0001_0417, 0x0015_0513, 0x0ff5_7593, 0x0035_9593, 0x0085_85b3, 0x0005_b603, 0x00a6_0633,
  0x00c5_b023, 0x0045_a683, 0x00c6_c6b3, 0x00a6_d463, 0x40a6_86b3, 0x0080_00ef, 0xfd1f_f06f,
  0x00a6_b733, 0x0016_d693, 0x0000_8067,
];

/** Slices and their length: V8 counts as it returns, and the last of them run optimized code. */
const SLICES = 24;
const SLICE_POSITIONS = 250_000n;
/** Digests of a few pages: hashing is optimized, too. */
const DIGESTS = 64;
const DIGEST_POSITIONS = 4096n;

/** Takes a few hundred milliseconds of this thread, and as much of V8's beside it. */
export function warmUp(memoryBytes: number): void {
  const config = bareMachine(PROGRAM, { memoryBytes });
  const machine = Machine.create(config, { jit: NO_JIT, dispatch: dispatchHere() });
  for (let i = 0; i < SLICES; i++) runOn(machine, SLICE_POSITIONS);
  for (let i = 0; i < DIGESTS; i++) {
    machine.ram.beginEpoch();
    runOn(machine, DIGEST_POSITIONS);
    machine.digest();
  }
}

function runOn(machine: Machine, positions: bigint): void {
  machine.run(position(machine.position + positions), machine.ticks);
}
