/**
 * The guest's 10 ms ticks as they leave the live machine: UDP datagrams `SEQUENCE GUEST_NS
 * PROGRESS` found in Ethernet frames and stamped by the host. Sans-IO.
 */

/** Where the guest sends them: a port of nobody else's. */
export const TICK_PORT = 7777;

/** One tick. */
export interface Tick {
  /** Host time. */
  readonly atMs: number;
  readonly sequence: number;
  readonly guestNs: number;
  /** Work done so far, in the workload's own unit. */
  readonly progress: number;
}

const ETHERNET_BYTES = 14;
const ETHERTYPE_IPV4 = 0x0800;
const PROTOCOL_UDP = 17;
const UDP_BYTES = 8;

/** The payload of a tick in a frame; undefined: it is something else. */
export function parseTick(frame: Uint8Array, atMs: number): Tick | undefined {
  const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
  if (frame.length < ETHERNET_BYTES + 20 + UDP_BYTES) return undefined;
  if (view.getUint16(12) !== ETHERTYPE_IPV4) return undefined;
  const headerBytes = (view.getUint8(ETHERNET_BYTES) & 0xf) * 4;
  const udp = ETHERNET_BYTES + headerBytes;
  if (view.getUint8(ETHERNET_BYTES + 9) !== PROTOCOL_UDP) return undefined;
  if (frame.length < udp + UDP_BYTES || view.getUint16(udp + 2) !== TICK_PORT) return undefined;
  const end = Math.min(frame.length, udp + view.getUint16(udp + 4));
  const text = Buffer.from(frame.subarray(udp + UDP_BYTES, end)).toString("latin1");
  const match = /^(\d+) (\d+) (\d+)/.exec(text);
  if (match === null) return undefined;
  const [, sequence, guestNs, progress] = match.map(Number);
  return {
    atMs,
    sequence: sequence ?? 0,
    guestNs: guestNs ?? 0,
    progress: progress ?? 0,
  };
}

/** Ticks in the order in which they came. */
export class TickLog {
  readonly #ticks: Tick[] = [];

  add(tick: Tick): void {
    this.#ticks.push(tick);
  }

  get length(): number {
    return this.#ticks.length;
  }

  get last(): Tick | undefined {
    return this.#ticks.at(-1);
  }

  /** The longest time without a tick between two host times; a gap that reaches into it counts. */
  longestGapMs(fromMs: number, toMs: number): number {
    let longest = 0;
    let previous: Tick | undefined;
    for (const tick of this.#ticks) {
      if (previous !== undefined && tick.atMs > fromMs && previous.atMs < toMs) {
        longest = Math.max(longest, tick.atMs - previous.atMs);
      }
      previous = tick;
    }
    const end = previous === undefined ? fromMs : previous.atMs;
    return end < toMs ? Math.max(longest, toMs - Math.max(end, fromMs)) : longest;
  }

  /** Progress between two host times. */
  progressBetween(fromMs: number, toMs: number): number {
    const within = this.#ticks.filter(({ atMs }) => atMs >= fromMs && atMs <= toMs);
    return (within.at(-1)?.progress ?? 0) - (within[0]?.progress ?? 0);
  }

  /** Sequence numbers that went backwards: the guest was started again, or ran twice. */
  get repeated(): number {
    let count = 0;
    for (const [at, tick] of this.#ticks.entries()) {
      const before = this.#ticks[at - 1];
      if (before !== undefined && tick.sequence <= before.sequence) count++;
    }
    return count;
  }
}
