/** Ports for forwards that are opened later, by another process, under their numbers. */
import { once } from "node:events";
import { createServer } from "node:net";

/**
 * Below what systems hand out to those who ask for any port (RFC 6335 has 49,152 and above, Linux
 * 32,768): such a port is not taken again before its guest is up.
 */
const FIRST_PORT = 20_000;
const PORTS = 12_000;
/** Two benchmarks at once look in different places. */
const PORTS_PER_PROCESS = 16;

let handedOut = 0;

/** A TCP port of 127.0.0.1 that nobody listens at, each time another one. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < PORTS; tries++) {
    const port = FIRST_PORT + ((process.pid * PORTS_PER_PROCESS + handedOut++) % PORTS);
    if (await isFree(port)) return port;
  }
  throw new Error(`every port from ${FIRST_PORT} on is taken`);
}

async function isFree(port: number): Promise<boolean> {
  const server = createServer();
  server.listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch {
    return false;
  }
  server.close();
  await once(server, "close");
  return true;
}
