/** The vocabulary of `Link`. */
import type { CloseCode, ProtocolError } from "./errors.ts";
import type { Hello, Message } from "./frame.ts";
import type { VersionRange } from "./limits.ts";

/** Bounds of waiting, in milliseconds. */
export interface LinkTimes {
  /** From a dial to the peer's `hello`. */
  readonly connectMs: number;
  /** Something is said at least this often on every connection. */
  readonly keepAliveMs: number;
  /** A connection on which nothing is heard for this long is dead. */
  readonly deadAfterMs: number;
  /** Longest time without control connection; Infinity: for ever. */
  readonly giveUpAfterMs: number;
}

/** What is usual: a cut of a minute is survived, a dead connection noticed within seconds. */
export const DEFAULT_LINK_TIMES: LinkTimes = {
  connectMs: 10_000,
  keepAliveMs: 1000,
  deadAfterMs: 8000,
  giveUpAfterMs: 120_000,
};

/** Times between attempts to connect, by how many have failed: seconds at most. */
export function redialDelayMs(failures: number): number {
  return failures === 0 ? 0 : Math.min(100 * 2 ** (failures - 1), 3000);
}

/** What a link is made with. */
export interface LinkOptions {
  /** `dialer`: asks for its connections. `listener`: is given them by `attach`. */
  readonly role: "dialer" | "listener";
  /** Chosen at random by the dialer; 1 .. 128 characters. */
  readonly link: string;
  /** Names this agent for the peer's people. */
  readonly agent: string;
  readonly capabilities: readonly string[];
  readonly versions: VersionRange;
  /** 1 .. MAX_BULK_CHANNELS. */
  readonly bulkChannels: number;
  /** Bulk bytes per millisecond at most; Infinity: no limit. */
  readonly maxBytesPerMs: number;
  readonly times: LinkTimes;
  readonly now: number;
}

/** Who is at the other end. */
export interface Peer {
  readonly agent: string;
  readonly version: number;
  /** What both sides can do. */
  readonly capabilities: readonly string[];
}

/** What happened to a link's connections. */
export type LinkEvent =
  /** The connection asked for by `dial` is there. */
  | { readonly kind: "connected"; readonly channel: number; readonly connection: number }
  | { readonly kind: "dial-failed"; readonly channel: number }
  /** The peer has dialled; its first message was this `hello`. */
  | { readonly kind: "attach"; readonly connection: number; readonly hello: Hello }
  | { readonly kind: "received"; readonly connection: number; readonly bytes: Uint8Array }
  /** `code`: the close code, if the peer closed with one. */
  | { readonly kind: "disconnected"; readonly connection: number; readonly code?: number }
  /** Time has passed: `wakeAt` is reached. */
  | { readonly kind: "time" };

/** What a link wants done, or tells. */
export type LinkAction =
  | { readonly kind: "dial"; readonly channel: number }
  | { readonly kind: "write"; readonly connection: number; readonly bytes: Uint8Array }
  | {
      readonly kind: "close";
      readonly connection: number;
      readonly code: CloseCode;
      readonly reason: string;
    }
  /** A message of the peer: control channel in order, bulk channels each in order. */
  | { readonly kind: "deliver"; readonly message: Message }
  /** The control connection is there, for the first time or again. */
  | { readonly kind: "up"; readonly peer: Peer }
  | { readonly kind: "down" }
  /** The link is over and does nothing more. */
  | { readonly kind: "lost"; readonly error: ProtocolError };
