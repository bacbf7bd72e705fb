/** A small guest that echoes what is typed and counts in memory, in a thread of its own. */
import { bareMachine } from "@dejavm/machine";
import { expect, vi } from "vitest";
import { LiveMachine } from "./hosts.ts";

/** Echoes the UART and counts in memory: waits for LSR.DR, reads RBR, writes THR. */
const ECHO_COUNTING = [
  0x0000_0417, // auipc s0, 0
  0x0000_1337, // lui   t1, 1
  0x0064_0433, // add   s0, s0, t1: a page of its own
  0x1000_02b7, // lui   t0, 0x10000
  0x0052_c303, // lbu   t1, 5(t0)
  0x0014_8493, // addi  s1, s1, 1
  0x0094_3023, // sd    s1, 0(s0)
  0x0013_7313, // andi  t1, t1, 1
  0xfe03_08e3, // beqz  t1, -16
  0x0002_c303, // lbu   t1, 0(t0)
  0x0062_8023, // sb    t1, 0(t0)
  0xfe5f_f06f, // j     -28
];

/** The machine of such a guest. */
export const TINY = bareMachine(ECHO_COUNTING);

/** What is offered of it. */
export const OFFER = {
  lineage: "lineage-1",
  name: "bare",
  epoch: 1,
  semantics: 1,
  pageCount: TINY.memoryBytes / 4096,
  disks: [],
  fingerprint: new Uint8Array(0),
  description: new Uint8Array(0),
};

/** A guest that has echoed something; it is the caller's to end. */
export async function echoing(): Promise<LiveMachine> {
  const source = await LiveMachine.start({
    source: { kind: "create", config: TINY },
    disks: [],
    pace: "live",
    limit: undefined,
    digestAtEnd: false,
    record: { sequence: 0, position: 0n, ticks: 0n, chain: new Uint8Array(32) },
  });
  source.type("one ");
  await vi.waitFor(() => expect(source.said).toBe("one "), 20_000);
  return source;
}
