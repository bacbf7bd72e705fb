/** A recorded session as JSON, for another process or a browser. */
import type { Session, SessionWay } from "./session.ts";

/** Bytes are base64. */
export interface SessionMessage {
  readonly chain: string;
  readonly segments: readonly string[];
  readonly way: SessionWay;
}

/** As JSON. */
export function toMessage({ chain, segments }: Session, way: SessionWay): SessionMessage {
  return { chain: base64(chain), segments: segments.map(base64), way };
}

/** The session without its end. */
export function fromMessage({ chain, segments }: SessionMessage): Omit<Session, "end"> {
  return { chain: bytes(chain), segments: segments.map(bytes) };
}

// Both hosts have these two; each type library declares them in its own way.
declare const atob: (text: string) => string;
declare const btoa: (text: string) => string;

function base64(data: Uint8Array): string {
  return btoa(Array.from(data, (byte) => String.fromCharCode(byte)).join(""));
}

function bytes(text: string): Uint8Array {
  return Uint8Array.from(atob(text), (char) => char.charCodeAt(0));
}
