/**
 * How long beginning a checkpoint stops a machine, by RAM size:
 * `node --conditions=source test/machine/checkpoint-pause.ts`. Prints milliseconds as JSON, by the
 * wall and in CPU time of the machine's thread, which a busy host does not lengthen. The machine
 * has touched every page and goes on writing between checkpoints.
 */
import { bareMachine, Machine, position, ticks } from "@dejavm/machine";

const MIB = 1024 * 1024;
const SIZES_MIB = [256, 1024, 2048];
const ROUNDS = 21;
/** Positions between checkpoints: each round writes some 80,000 pages again. */
const BETWEEN = 400_000n;

/** Writes a word to every page from the second megabyte on, over and over. */
function program(memoryMib: number): readonly number[] {
  return [
    0x0000_0297, // auipc t0, 0
    0x0010_0337, // lui   t1, 0x100
    0x0062_82b3, // add   t0, t0, t1: the first page
    0x0002_8393, // addi  t2, t0, 0
    (((memoryMib - 2) << 8) << 12) | 0xe37, // lui   t3, bytes
    0x01c3_8eb3, // add   t4, t2, t3: the end
    0x0000_1f37, // lui   t5, 1
    0x0053_b023, // sd    t0, 0(t2)
    0x01e3_83b3, // add   t2, t2, t5
    0xffd3_ece3, // bltu  t2, t4, -8
    0x0002_8393, // addi  t2, t0, 0
    0xff1f_f06f, // j     -16
  ];
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? 0;

const round = (ms: number): number => Math.round(ms * 100) / 100;

const report = SIZES_MIB.map((memoryMib) => {
  const machine = Machine.create(bareMachine(program(memoryMib), { memoryBytes: memoryMib * MIB }));
  const run = (positions: bigint): void => {
    machine.run(position(machine.position + positions), ticks(0n));
  };
  run(8_000_000n);
  const pauses = Array.from({ length: ROUNDS }, () => {
    const cpuBefore = process.threadCpuUsage();
    const before = performance.now();
    const checkpoint = machine.checkpoint({ maxSavedPages: machine.pageCount });
    const wall = performance.now() - before;
    const { user, system } = process.threadCpuUsage(cpuBefore);
    run(BETWEEN);
    checkpoint.close();
    return { wall, cpu: (user + system) / 1000 };
  });
  const touched = [...machine.ram.dirtySince(1)].length;
  return {
    memoryMib,
    touchedPages: touched,
    medianMs: round(median(pauses.map(({ wall }) => wall))),
    maximumMs: round(Math.max(...pauses.map(({ wall }) => wall))),
    maximumCpuMs: round(Math.max(...pauses.map(({ cpu }) => cpu))),
  };
});

console.log(JSON.stringify(report, undefined, 2));
