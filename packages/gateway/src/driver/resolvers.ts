/** The DNS servers of the host. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import type { Resolver } from "../environment.ts";
import { gatewayError } from "../errors.ts";
import { PORT } from "../wire.ts";

const RESOLV_CONF = "/etc/resolv.conf";
/** As many as resolv.conf(5) allows. */
const MAX_RESOLVERS = 3;

/** `HOST[:PORT]`, an IPv6 HOST in brackets if a port follows; E_NET_ADDRESS. */
export function parseResolver(text: string): Resolver {
  const match = /^(?:\[(.+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text);
  const host = isIP(text) === 6 ? text : (match?.[1] ?? match?.[2] ?? "");
  const port = isIP(text) === 6 ? PORT.Dns : Number(match?.[3] ?? PORT.Dns);
  if (isIP(host) !== 0 && port > 0 && port <= 65_535) return { host, port };
  throw gatewayError(
    "E_NET_ADDRESS",
    `cannot use the DNS server ${text}`,
    "want an address, or ADDRESS:PORT, such as 192.0.2.1 or [2001:db8::1]:53",
  );
}

/** From /etc/resolv.conf; none where there is no such file. */
export function hostResolvers(): Resolver[] {
  try {
    return parseResolvConf(readFileSync(RESOLV_CONF, "utf8"));
  } catch {
    return [];
  }
}

/** The `nameserver` lines of resolv.conf(5). */
export function parseResolvConf(text: string): Resolver[] {
  return text
    .split("\n")
    .map((line) => /^\s*nameserver\s+(\S+)/.exec(line)?.[1] ?? "")
    .filter((host) => isIP(host.split("%")[0] ?? "") !== 0)
    .slice(0, MAX_RESOLVERS)
    .map((host) => ({ host, port: PORT.Dns }));
}
