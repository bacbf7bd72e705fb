/** What is measured of a guest's network, from the host, with ordinary clients. */
import { runProcess } from "@dejavm/debian";
import { connectionRate, download, roundTripMicroseconds, upload } from "./clients.ts";
import type { HostPorts } from "./guests.ts";
import { Relay } from "./relay.ts";

/** What a measurement works with. */
export interface RowContext {
  readonly ports: HostPorts;
  /** The command. */
  readonly redisBenchmark: string;
  /** So much of the row's work is done: 1 for one value, more to warm a guest up. */
  readonly share: number;
  /** Aborted when the row's time is over. */
  readonly signal: AbortSignal;
}

/** One row of the table. */
export interface NetworkRow {
  readonly name: string;
  readonly unit: string;
  /** Whether a larger value is better. */
  readonly higherIsBetter: boolean;
  /** Throws where it cannot be done; the message says why. */
  readonly measure: (context: RowContext) => Promise<number>;
}

// The work of one value: some 0.4 s, so that the values of a round are of the same moment.
const DOWNLOAD_BYTES = 6 * 2 ** 20;
const UPLOAD_BYTES = 12 * 2 ** 20;
const ROUND_TRIPS = 300;
const CONNECTIONS = 200;
const CLIENTS = 50;
/** Requests of one value of the row redis-50-clients. */
export const REDIS_50_REQUESTS = 1500;

/** Every row, in the order of the table. */
export const ROWS: readonly NetworkRow[] = [
  bulk("download", { byteCount: DOWNLOAD_BYTES, seconds: download }),
  bulk("upload", { byteCount: UPLOAD_BYTES, seconds: upload }),
  redis("redis-1-client", { clients: 1, pipeline: 1, requests: 300 }),
  redis("redis-50-clients", { clients: CLIENTS, pipeline: 1, requests: REDIS_50_REQUESTS }),
  redis("redis-1-client-pipelined", { clients: 1, pipeline: 16, requests: 6400 }),
  redis("redis-50-clients-pipelined", { clients: CLIENTS, pipeline: 16, requests: 16_000 }),
  {
    name: "connections",
    unit: "1/s",
    higherIsBetter: true,
    measure: ({ ports, share, signal }) =>
      connectionRate(ports.http, Math.ceil(CONNECTIONS * share), signal),
  },
  {
    name: "round-trip",
    unit: "us",
    higherIsBetter: false,
    measure: ({ ports, share, signal }) =>
      roundTripMicroseconds(ports.redis, Math.ceil(ROUND_TRIPS * share), signal),
  },
];

interface BulkLoad {
  readonly byteCount: number;
  /** How long so many bytes take. */
  readonly seconds: (port: number, count: number, signal: AbortSignal) => Promise<number>;
}

function bulk(name: string, { byteCount, seconds }: BulkLoad): NetworkRow {
  return {
    name,
    unit: "MB/s",
    higherIsBetter: true,
    measure: async ({ ports, share, signal }) => {
      const count = Math.ceil(byteCount * share);
      return count / 1e6 / (await seconds(ports.bulk, count, signal));
    },
  };
}

interface RedisLoad {
  readonly clients: number;
  /** Requests that a client sends without waiting for the answers. */
  readonly pipeline: number;
  readonly requests: number;
}

/** One client connects by itself, several go through a relay: see there. */
function redis(name: string, load: RedisLoad): NetworkRow {
  return {
    name,
    unit: "1/s",
    higherIsBetter: true,
    measure: async (context) => {
      const { ports, signal } = context;
      if (load.clients === 1) return redisRate(ports.redis, load, context);
      const relay = await Relay.open(ports.redis, load.clients, signal);
      try {
        return await redisRate(relay.port, load, context);
      } finally {
        relay.close();
      }
    },
  };
}

async function redisRate(
  port: number,
  { clients, pipeline, requests }: RedisLoad,
  { redisBenchmark, share, signal }: RowContext,
): Promise<number> {
  const { stdout, stderr } = await runProcess(
    redisBenchmark,
    [
      ["-h", "127.0.0.1", "-p", String(port), "-t", "get", "--csv"],
      ["-c", String(clients), "-P", String(pipeline), "-n", String(Math.ceil(requests * share))],
    ].flat(),
    { signal },
  );
  const rate = Number(/^"GET[^"]*","([\d.]+)"/m.exec(stdout)?.[1]);
  if (rate > 0) return rate;
  throw new Error(`redis-benchmark says no rate, but: ${(stdout + stderr).slice(-200)}`);
}
