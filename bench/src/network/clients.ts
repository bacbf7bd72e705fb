/** Clients of the guest's servers, for the rows that no ordinary program measures. */
import { once } from "node:events";
import { createConnection, type Socket } from "node:net";
import { median } from "../stats.ts";

/** Clients that open one connection after the other, each. */
const CONNECTING_CLIENTS = 8;
/** Between the first connections of two of them. */
const STAGGER_MS = 20;
/** A connection that is not answered is tried again, so often in all. */
const MAX_TRIES = 10;
/** Before the second try; each pause is as much longer. */
const RETRY_MS = 50;
/** After this a connection counts as not answered. */
const TRY_MS = 5000;
const UPLOAD_BLOCK_BYTES = 2 ** 18;

/** Seconds that `count` bytes take from the guest's bulk server. */
export async function download(port: number, count: number, signal: AbortSignal): Promise<number> {
  const start = performance.now();
  const socket = connect(port, signal);
  socket.write(header("S", count));
  let got = 0;
  socket.on("data", (bytes) => {
    got += bytes.length;
  });
  await once(socket, "end", { signal });
  if (got !== count) throw new Error(`a download ended after ${got} of ${count} bytes`);
  return (performance.now() - start) / 1000;
}

/** Seconds that `count` bytes take to the guest's bulk server, until it says that it has them. */
export async function upload(port: number, count: number, signal: AbortSignal): Promise<number> {
  const start = performance.now();
  const socket = connect(port, signal);
  const answered = once(socket, "data", { signal });
  answered.catch(() => undefined);
  socket.write(header("R", count));
  const block = Buffer.alloc(UPLOAD_BLOCK_BYTES);
  for (let left = count; left > 0; left -= block.length) {
    const part = block.subarray(0, Math.min(left, block.length));
    if (!socket.write(part)) await once(socket, "drain", { signal });
  }
  await answered;
  socket.destroy();
  return (performance.now() - start) / 1000;
}

/** Median time of a PING to redis over one connection. */
export async function roundTripMicroseconds(
  port: number,
  count: number,
  signal: AbortSignal,
): Promise<number> {
  const socket = connect(port, signal);
  await once(socket, "connect", { signal });
  const times: number[] = [];
  for (let i = 0; i < count; i++) {
    const start = performance.now();
    socket.write("PING\r\n");
    await once(socket, "data", { signal });
    times.push((performance.now() - start) * 1000);
  }
  socket.destroy();
  return median(times);
}

/**
 * Connections per second, each with one small HTTP request. The clients begin one after the other,
 * and try again what fails: QEMU's forwards take one connection at a time and have no queue.
 */
export async function connectionRate(
  port: number,
  count: number,
  signal: AbortSignal,
): Promise<number> {
  const start = performance.now();
  let left = count;
  const client = async (_: unknown, index: number): Promise<void> => {
    await sleep(index * STAGGER_MS);
    while (left-- > 0) await requestOnce(port, signal);
  };
  await Promise.all(Array.from({ length: CONNECTING_CLIENTS }, client));
  return count / ((performance.now() - start) / 1000);
}

async function requestOnce(port: number, signal: AbortSignal): Promise<void> {
  for (let tries = 1; ; tries++) {
    try {
      return await request(port, AbortSignal.any([signal, AbortSignal.timeout(TRY_MS)]));
    } catch (error) {
      await pauseBefore(tries + 1, error, signal);
    }
  }
}

/** Throws `error`, why the one before failed, where there are to be no more tries. */
export async function pauseBefore(
  nextTry: number,
  error: unknown,
  signal: AbortSignal,
): Promise<void> {
  if (nextTry > MAX_TRIES || signal.aborted) throw error;
  await sleep((nextTry - 1) * RETRY_MS);
}

async function request(port: number, signal: AbortSignal): Promise<void> {
  const socket = connect(port, signal);
  let got = 0;
  socket.on("data", (bytes) => {
    got += bytes.length;
  });
  socket.end("GET / HTTP/1.0\r\n\r\n");
  await once(socket, "end", { signal });
  if (got === 0) throw new Error("a connection ended without an answer");
}

/** A connection to the host's own address; an abort of `signal` destroys it. */
export function connect(port: number, signal: AbortSignal): Socket {
  const options = { port, host: "127.0.0.1", allowHalfOpen: true, noDelay: true };
  const socket = createConnection({ ...options, signal });
  // Whoever waits for something of this socket hears of its errors, too.
  socket.on("error", () => socket.destroy());
  return socket;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}

function header(mode: "S" | "R", count: number): string {
  return mode + String(count).padStart(15, "0");
}
