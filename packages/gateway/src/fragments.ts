/**
 * Puts fragmented datagrams of the guest together (RFC 791, section 3.2). A datagram whose
 * fragments overlap is dropped as a whole: no honest sender makes such (RFC 8900, section 3.7).
 */

import type { Ipv4Packet, Packet } from "./ipv4.ts";
import type { DropReason } from "./metrics.ts";
import { FRAGMENT_UNIT_BYTES, IPV4_BYTES, IPV4_MAX_BYTES } from "./wire.ts";

/** Datagrams in the making; bounds the memory that a flood of first fragments takes to 1 MiB. */
export const MAX_DATAGRAMS = 16;
/** RFC 1122 allows 60 to 120 s across the Internet; this is one cable. */
const TIMEOUT_MS = 10_000;
const MAX_PAYLOAD_BYTES = IPV4_MAX_BYTES - IPV4_BYTES;

interface Datagram {
  readonly source: number;
  readonly target: number;
  readonly protocol: number;
  readonly identification: number;
  readonly expiresAt: number;
  /** Ascending, disjoint `[start, end)` that have come. */
  readonly parts: { readonly start: number; readonly end: number; readonly bytes: Uint8Array }[];
  /** Known once the last fragment is here. */
  length: number | undefined;
}

/** What became of a fragment. */
export type FragmentResult =
  | { readonly kind: "waiting" }
  | { readonly kind: "dropped"; readonly reason: DropReason }
  | { readonly kind: "whole"; readonly packet: Packet };

/** See the head of this file. */
export class Fragments {
  #datagrams: Datagram[] = [];

  get count(): number {
    return this.#datagrams.length;
  }

  /** Takes a fragment; its bytes stay referenced until its datagram is whole or given up. */
  add(packet: Ipv4Packet, now: number): FragmentResult {
    this.#datagrams = this.#datagrams.filter(({ expiresAt }) => expiresAt > now);
    const start = packet.offset;
    const end = start + packet.end - packet.start;
    const uneven = packet.moreFragments && (end - start) % FRAGMENT_UNIT_BYTES !== 0;
    if (end === start || uneven || end > MAX_PAYLOAD_BYTES) return dropped("malformed");
    const datagram = this.#find(packet) ?? this.#begin(packet, now);
    if (datagram === undefined) return dropped("fragment");
    if (!insert(datagram, packet, start, end)) {
      this.#forget(datagram);
      return dropped("fragment");
    }
    const whole = assemble(datagram);
    if (whole === undefined) return { kind: "waiting" };
    this.#forget(datagram);
    return { kind: "whole", packet: whole };
  }

  #find(packet: Ipv4Packet): Datagram | undefined {
    return this.#datagrams.find(
      (each) =>
        each.identification === packet.identification &&
        each.source === packet.source &&
        each.target === packet.target &&
        each.protocol === packet.protocol,
    );
  }

  #begin(packet: Ipv4Packet, now: number): Datagram | undefined {
    if (this.#datagrams.length >= MAX_DATAGRAMS) return undefined;
    const { source, target, protocol, identification } = packet;
    const expiresAt = now + TIMEOUT_MS;
    const key = { source, target, protocol, identification };
    const datagram: Datagram = { ...key, expiresAt, parts: [], length: undefined };
    this.#datagrams.push(datagram);
    return datagram;
  }

  #forget(datagram: Datagram): void {
    this.#datagrams = this.#datagrams.filter((each) => each !== datagram);
  }
}

function dropped(reason: DropReason): FragmentResult {
  return { kind: "dropped", reason };
}

/** False where the fragment contradicts those before it. */
function insert(datagram: Datagram, packet: Ipv4Packet, start: number, end: number): boolean {
  const { parts } = datagram;
  if (!packet.moreFragments) {
    if (datagram.length !== undefined && datagram.length !== end) return false;
    datagram.length = end;
  }
  const last = parts.at(-1);
  const known = datagram.length;
  if (known !== undefined && (end > known || (last !== undefined && last.end > known))) {
    return false;
  }
  let index = parts.length;
  while (index > 0 && (parts[index - 1]?.start ?? 0) >= start) index--;
  const before = parts[index - 1];
  const after = parts[index];
  if (after !== undefined && after.start === start && after.end === end) return true;
  if (before !== undefined && before.end > start) return false;
  if (after !== undefined && after.start < end) return false;
  parts.splice(index, 0, { start, end, bytes: packet.bytes.subarray(packet.start, packet.end) });
  return true;
}

function assemble(datagram: Datagram): Packet | undefined {
  const { length, parts, source, target, protocol } = datagram;
  if (length === undefined) return undefined;
  let reached = 0;
  for (const part of parts) {
    if (part.start !== reached) return undefined;
    reached = part.end;
  }
  if (reached !== length) return undefined;
  const bytes = new Uint8Array(length);
  for (const part of parts) bytes.set(part.bytes, part.start);
  return { bytes, source, target, protocol, start: 0, end: length };
}
