/** Bare guests whose recording is measured; flat images of a few instructions. */

/** What a guest does, and until when. */
export interface RecordWorkload {
  readonly name: string;
  readonly words: readonly number[];
  /** Ends at this position; undefined: after so many answers. */
  readonly positions: bigint | undefined;
  readonly answers: number;
}

/** 16 MiB, a word of each page, over and over. */
const MEMORY_MIB = 16;

/** In the order of the table. */
export const RECORD_WORKLOADS: readonly RecordWorkload[] = [
  {
    name: "compute",
    words: [
      0x0010_0293, // li   t0, 1
      0x00d2_9313, // slli t1, t0, 13
      0x0062_c2b3, // xor  t0, t0, t1
      0x0072_d313, // srli t1, t0, 7
      0x0062_c2b3, // xor  t0, t0, t1
      0x0112_9313, // slli t1, t0, 17
      0x0062_c2b3, // xor  t0, t0, t1
      0xfe9f_f06f, // j    -24
    ],
    positions: 12_000_000_000n,
    answers: 0,
  },
  {
    name: "memory",
    words: [
      0x0000_0297, // auipc t0, 0
      0x0010_0337, // lui   t1, 0x100
      0x0062_82b3, // add   t0, t0, t1: the first page
      0x0002_8393, // addi  t2, t0, 0
      ((MEMORY_MIB << 8) << 12) | 0xe37, // lui   t3, bytes
      0x01c3_8eb3, // add   t4, t2, t3: the end
      0x0000_1f37, // lui   t5, 1
      0x0053_b023, // sd    t0, 0(t2)
      0x01e3_83b3, // add   t2, t2, t5
      0xffd3_ece3, // bltu  t2, t4, -8
      0x0002_8393, // addi  t2, t0, 0
      0xff1f_f06f, // j     -16
    ],
    positions: 1_000_000_000n,
    answers: 0,
  },
  {
    // Sleeps; answers each byte with itself. A client sends the next one when it has the answer.
    name: "answers",
    words: [
      0x1000_02b7, // lui   t0, 0x10000: the UART
      0x0010_0313, // li    t1, 1
      0x0062_80a3, // sb    t1, 1(t0): it interrupts when it has a byte
      0x0c00_03b7, // lui   t2, 0xc000: the PLIC
      0x0263_a423, // sw    t1, 40(t2): priority of interrupt 10
      0x0c00_2e37, // lui   t3, 0xc002
      0x4000_0e93, // li    t4, 1 << 10
      0x01de_2023, // sw    t4, 0(t3): enabled for machine mode
      0x0c20_0f37, // lui   t5, 0xc200
      0x0000_1fb7, // lui   t6, 1
      0x001f_df93, // srli  t6, t6, 1
      0x304f_9073, // csrw  mie, t6: wakes, but does not trap
      0x1050_0073, // wfi
      0x0052_c303, // lbu   t1, 5(t0)
      0x0013_7313, // andi  t1, t1, 1
      0x0003_0663, // beqz  t1, 12
      0x0002_c303, // lbu   t1, 0(t0)
      0x0062_8023, // sb    t1, 0(t0)
      0x004f_2303, // lw    t1, 4(t5): claim
      0x006f_2223, // sw    t1, 4(t5): complete
      0xfe1f_f06f, // j     -32
    ],
    positions: undefined,
    answers: 4000,
  },
];
