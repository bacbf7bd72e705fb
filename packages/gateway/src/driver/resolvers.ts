/** The DNS servers of the host. */
import { readFileSync } from "node:fs";
import { isIP } from "node:net";
import type { Resolver } from "../environment.ts";
import { PORT } from "../wire.ts";

const RESOLV_CONF = "/etc/resolv.conf";
/** As many as resolv.conf(5) allows. */
const MAX_RESOLVERS = 3;

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
