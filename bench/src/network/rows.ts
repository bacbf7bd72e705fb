/** What is measured of a guest's network, from the host, with ordinary clients. */
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { runProcess } from "@dejavm/debian";
import { median } from "../stats.ts";
import type { HostPorts } from "./guests.ts";

/** One row of the table. */
export interface NetworkRow {
  readonly name: string;
  readonly unit: string;
  /** Whether a larger value is better. */
  readonly higherIsBetter: boolean;
  /** Undefined: it could not be done within its time. */
  readonly measure: (ports: HostPorts, tools: RowTools) => Promise<number | undefined>;
}

/** Programs that rows use. */
export interface RowTools {
  readonly redisBenchmark: string;
}

const BULK_BYTES = 24 * 2 ** 20;
/**
 * QEMU accepts one forwarded connection after the other with no queue: of 50 clients that come at
 * once some wait for their second SYN, or for ever. Then the run is tried again, and given up.
 */
const TRIES = 2;
const TIMEOUT_SECONDS = 45;
const ROUND_TRIPS = 1500;
const CONNECTIONS = 400;
const CONNECTIONS_AT_ONCE = 8;

/** Every row, in the order of the table. */
export const ROWS: readonly NetworkRow[] = [
  bulk("download", (ports) => download(ports.bulk, BULK_BYTES)),
  bulk("upload", (ports) => upload(ports.bulk, BULK_BYTES)),
  redis("redis-1-client", ["-c", "1", "-n", "3000"]),
  redis("redis-50-clients", ["-c", "50", "-n", "20000"]),
  redis("redis-1-client-pipelined", ["-c", "1", "-P", "16", "-n", "40000"]),
  redis("redis-50-clients-pipelined", ["-c", "50", "-P", "16", "-n", "100000"]),
  {
    name: "connections",
    unit: "1/s",
    higherIsBetter: true,
    measure: (ports) => connectionRate(ports.http),
  },
  {
    name: "round-trip",
    unit: "us",
    higherIsBetter: false,
    measure: (ports) => roundTrip(ports.redis),
  },
];

/** `seconds`: how long BULK_BYTES take. */
function bulk(name: string, seconds: (ports: HostPorts) => Promise<number>): NetworkRow {
  const measure = async (ports: HostPorts) => BULK_BYTES / 1e6 / (await seconds(ports));
  return { name, unit: "MB/s", higherIsBetter: true, measure };
}

function redis(name: string, args: readonly string[]): NetworkRow {
  return {
    name,
    unit: "1/s",
    higherIsBetter: true,
    measure: async (ports, { redisBenchmark }) => {
      const where = ["-h", "127.0.0.1", "-p", String(ports.redis), "-t", "get", "--csv"];
      const command = [String(TIMEOUT_SECONDS), redisBenchmark, ...where, ...args];
      for (let i = 0; i < TRIES; i++) {
        const { stdout } = await runProcess("timeout", command);
        const rate = Number(/^"GET[^"]*","([\d.]+)"/m.exec(stdout)?.[1]);
        if (rate > 0) return rate;
      }
      return undefined;
    },
  };
}

async function download(port: number, count: number): Promise<number> {
  const start = performance.now();
  const socket = connect(port);
  socket.write(header("S", count));
  let got = 0;
  socket.on("data", (bytes) => {
    got += bytes.length;
  });
  await once(socket, "end");
  if (got !== count) throw new Error(`a download ended after ${got} of ${count} bytes`);
  return (performance.now() - start) / 1000;
}

async function upload(port: number, count: number): Promise<number> {
  const start = performance.now();
  const socket = connect(port);
  const answered = once(socket, "data");
  socket.write(header("R", count));
  const block = Buffer.alloc(2 ** 18);
  for (let sent = 0; sent < count; sent += block.length) {
    if (!socket.write(block)) await once(socket, "drain");
  }
  await answered;
  socket.destroy();
  return (performance.now() - start) / 1000;
}

function header(mode: "S" | "R", count: number): string {
  return mode + String(count).padStart(15, "0");
}

/** Median microseconds of a PING over one connection. */
async function roundTrip(port: number): Promise<number> {
  const socket = connect(port);
  await once(socket, "connect");
  const times: number[] = [];
  for (let i = 0; i < ROUND_TRIPS; i++) {
    const start = performance.now();
    socket.write("PING\r\n");
    await once(socket, "data");
    times.push((performance.now() - start) * 1000);
  }
  socket.destroy();
  return median(times);
}

/** Connections per second, each with one small HTTP request, some at once. */
async function connectionRate(port: number): Promise<number> {
  const start = performance.now();
  let left = CONNECTIONS;
  const worker = async (): Promise<void> => {
    while (left-- > 0) {
      const socket = connect(port);
      socket.end("GET / HTTP/1.0\r\n\r\n");
      socket.resume();
      await once(socket, "end");
    }
  };
  await Promise.all(Array.from({ length: CONNECTIONS_AT_ONCE }, worker));
  return CONNECTIONS / ((performance.now() - start) / 1000);
}

function connect(port: number): Socket {
  return createConnection({ port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true });
}
