/** Limits of one gateway. Each has a counter of what it kept out, by the name in brackets. */

/** Plain data that belongs to the VM and moves with it. */
export interface GatewayLimits {
  /** TCP connections [connection-limit]. Each takes up to 1.5 MiB of buffers and a socket. */
  readonly tcpConnections: number;
  /** TCP connections that are being opened [half-open-limit]: what a flood of SYNs can take. */
  readonly tcpHalfOpen: number;
  /** New TCP connections and UDP flows per second, on average [rate-limit]. */
  readonly newFlowsPerSecond: number;
  /** Bytes that wait in all connections together; above it windows shrink [buffer-limit]. */
  readonly bufferBytes: number;
  /** UDP flows [udp-flow-limit]. */
  readonly udpFlows: number;
  /** DNS queries that wait for an answer [dns-limit]. */
  readonly dnsQueries: number;
}

/** More than programs need and less than a host minds. */
export const DEFAULT_LIMITS: GatewayLimits = {
  tcpConnections: 4096,
  tcpHalfOpen: 1024,
  newFlowsPerSecond: 20_000,
  bufferBytes: 128 * 1024 * 1024,
  udpFlows: 1024,
  dnsQueries: 256,
};

/** Allows `perSecond` things on average, and as many at once after a second of quiet. */
export class RateLimit {
  readonly #perSecond: number;
  #tokens: number;
  #filledAt = 0;

  constructor(perSecond: number) {
    this.#perSecond = perSecond;
    this.#tokens = perSecond;
  }

  /** Whether one more may be now; `now` in ms, never going back. */
  take(now: number): boolean {
    const gained = ((now - this.#filledAt) * this.#perSecond) / 1000;
    this.#tokens = Math.min(this.#perSecond, this.#tokens + gained);
    this.#filledAt = now;
    if (this.#tokens < 1) return false;
    this.#tokens--;
    return true;
  }
}
