/** What is measured: one guest that can be moved, on whatever system. */
import type { Gateway } from "@dejavm/gateway";

/** How a move went, as the system itself sees it. */
export interface MoveResult {
  /** False: it did not end within its time. */
  readonly converged: boolean;
  readonly totalSeconds: number;
  /** Bytes on the wire, both directions, all connections. */
  readonly wireBytes: number;
  /** Whether what arrived was proved equal; null: the system proves nothing. */
  readonly digestsEqual: boolean | null;
  /** What the system itself reports of it; undefined: nothing. */
  readonly report?: unknown;
}

/** CPU seconds that each host's process has used. */
export interface HostsCpu {
  readonly source: number;
  readonly target: number;
}

/** A guest that runs, with its other host waiting behind a WAN. */
export interface Subject {
  /** `qemu` or `dejavm`. */
  readonly system: string;
  /** How it moves: a mode's name. */
  readonly strategy: string;
  /** Port of 127.0.0.1 that leads to the guest's redis where it lives now. */
  readonly redisPort: number;
  cpuSeconds(): HostsCpu;
  /** Runs a shell command in the guest, its standard input given; gives its output. */
  run(command: string, input?: Uint8Array): Promise<string>;
  move(): Promise<MoveResult>;
  close(): Promise<void>;
}

/** The names by which a guest's network is known to workloads. */
export const GUEST_GATEWAY = "10.0.2.2";

/** The port of `gateway` that leads to the guest's redis. */
export async function forwardRedis(gateway: Gateway): Promise<number> {
  const forward = await gateway.addForward({
    protocol: "tcp",
    hostAddress: "127.0.0.1",
    hostPort: 0,
    guestPort: 6379,
  });
  return forward.hostPort;
}
