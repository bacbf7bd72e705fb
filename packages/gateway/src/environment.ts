/** What the layers of one gateway share. */

import type { Link } from "./ipv4.ts";
import type { GatewayLimits, RateLimit } from "./limits.ts";
import type { Metrics } from "./metrics.ts";
import type { Policy } from "./policy.ts";
import type { GatewayOutput } from "./socket-events.ts";

/** A DNS server of the host's. */
export interface Resolver {
  /** IPv4 or IPv6 address. */
  readonly host: string;
  readonly port: number;
}

/** See the head of this file. */
export interface Environment {
  readonly link: Link;
  readonly metrics: Metrics;
  readonly limits: GatewayLimits;
  readonly resolvers: readonly Resolver[];
  /** Largest IPv4 packet on the cable. */
  readonly mtu: number;
  readonly newFlows: RateLimit;
  readonly emit: (output: GatewayOutput) => void;
  /** The rules may be changed while the gateway works. */
  readonly policy: () => Policy;
  /** A gateway whose VM has moved serves only the flows that it has. */
  readonly retired: () => boolean;
}
