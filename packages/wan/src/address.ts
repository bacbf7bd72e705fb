/** Where a rig listens and where it leads: `HOST:PORT`, `[::1]:PORT` or `unix:PATH`. */
import { CodedError } from "@dejavm/base";
import type { WanErrorCode } from "./profile.ts";

/** A place to listen at or to connect to. */
export type WanAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** Throws E_WAN_ADDRESS. Port 0: any that is free. */
export function parseWanAddress(text: string): WanAddress {
  if (text.startsWith("unix:") && text.length > 5) return { kind: "unix", path: text.slice(5) };
  const match = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})$/u.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? Number.NaN);
  if (host !== undefined && port <= 65_535) return { kind: "tcp", host, port };
  const error: CodedError<WanErrorCode> = new CodedError(
    "E_WAN_ADDRESS",
    `cannot use the address ${text}`,
    { hint: "want HOST:PORT, [IPV6]:PORT or unix:PATH" },
  );
  throw error;
}

/** The text that `parseWanAddress` understands. */
export function formatWanAddress(address: WanAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const { host, port } = address;
  return host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
}
