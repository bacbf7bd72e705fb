/**
 * Real clients on the host against real servers in a Debian guest, and the other way round, through
 * the gateway. All traffic stays on the loopback. DEJAVM_NETWORK_MB: size of the transfers.
 */
import { createHash } from "node:crypto";
import { createSocket, type Socket as UdpSocket } from "node:dgram";
import { once } from "node:events";
import { createReadStream, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, get, type IncomingMessage, type Server } from "node:http";
import { type AddressInfo, createConnection, createServer as createTcpServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { CodedError, Prng } from "@dejavm/base";
import { hostTool, runProcess } from "@dejavm/debian";
import { buildImage, imageSpec } from "@dejavm/image";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { GuestShell } from "../support/guest-shell.ts";

const MEBIBYTES = Number(process.env.DEJAVM_NETWORK_MB ?? 20);
const BYTES = MEBIBYTES * 2 ** 20;
const CONNECTIONS = 500;
/** A test that takes longer hangs: a mebibyte a second is slow. */
const TIMEOUT_MS = 70_000 + MEBIBYTES * 1000;

let skip = "";
let directory = "";
let guest: GuestShell;
let ports: { redis: number; http: number; python: number; echo: number };
let fileServer: Server;
let resolver: UdpSocket;
const content = new Prng(20).fill(new Uint8Array(2 ** 20));

const sha256 = (parts: Iterable<Uint8Array>): string => {
  const hash = createHash("sha256");
  for (const part of parts) hash.update(part);
  return hash.digest("hex");
};

/** Serves `content` over and over, BYTES in all. */
async function startFileServer(): Promise<number> {
  fileServer = createServer((_request, response) => {
    response.setHeader("content-length", BYTES);
    Readable.from(Array.from({ length: MEBIBYTES }, () => content)).pipe(response);
  });
  fileServer.listen(0, "127.0.0.1");
  await once(fileServer, "listening");
  return (fileServer.address() as AddressInfo).port;
}

/** Knows one name: moved.dejavm.test is 192.0.2.77. */
async function startResolver(): Promise<number> {
  resolver = createSocket("udp4");
  resolver.on("message", (query, { port, address }) => {
    const isA = query.readUInt16BE(query.length - 4) === 1;
    const known = query.includes("moved") && isA;
    const answer = Buffer.from("c00c00010001000000ff0004c000024d", "hex");
    const reply = Buffer.concat([query, known ? answer : Buffer.alloc(0)]);
    reply.writeUInt16BE(query.includes("moved") ? 0x8180 : 0x8183, 2);
    reply.writeUInt16BE(known ? 1 : 0, 6);
    resolver.send(reply, port, address);
  });
  resolver.bind(0, "127.0.0.1");
  await once(resolver, "listening");
  return resolver.address().port;
}

async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createTcpServer().listen(0, "127.0.0.1"));
  await Promise.all(servers.map((server) => once(server, "listening")));
  const found = servers.map((server) => (server.address() as AddressInfo).port);
  for (const server of servers) server.close();
  return found;
}

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-network-"));
  try {
    await buildImage(imageSpec({ packages: ["python3"] }));
  } catch (error) {
    const outside = ["E_NO_NETWORK", "E_MIRROR_CHANGING", "E_TOOL_MISSING"];
    if (!(error instanceof CodedError && outside.includes(String(error.code)))) throw error;
    skip = `no Debian image: ${error.message}`;
    return;
  }
  const [redis = 0, http = 0, python = 0, echo = 0] = await freePorts(4);
  ports = { redis, http, python, echo };
  const fileServerPort = await startFileServer();
  const forwards = [`${redis}:6379`, `${http}:80`, `${python}:8000`, `${echo}:7/udp`];
  guest = await GuestShell.start([
    "debian-python3",
    ...forwards.flatMap((forward) => ["-p", forward]),
    "--net-allow",
    `tcp:host:${fileServerPort}`,
    "--dns",
    `127.0.0.1:${await startResolver()}`,
  ]);
  const big = `/var/www/html/big`;
  await guest.run(
    [
      "redis-server --protected-mode no --save '' --maxclients 2000 --daemonize yes >/dev/null",
      "lighttpd -f /etc/lighttpd/lighttpd.conf",
      "cd /var/www/html && python3 -m http.server 8000 >/dev/null 2>&1 &",
      `dd if=/dev/urandom bs=1M count=1 of=/tmp/mb 2>/dev/null`,
      `for i in $(seq ${MEBIBYTES}); do cat /tmp/mb; done >${big}`,
      "until redis-cli ping >/dev/null 2>&1; do sleep 0.1; done",
      "until wget -q -O /dev/null http://127.0.0.1:8000/; do sleep 0.1; done",
    ].join("\n"),
  );
});
beforeEach((context) => {
  if (skip !== "") context.skip(skip);
});
afterAll(async () => {
  await guest?.stop();
  fileServer?.close();
  resolver?.close();
  rmSync(directory, { recursive: true });
});

function tellSpeed(what: string, bytesPerSecond: number): void {
  process.stdout.write(`${MEBIBYTES} MiB ${what}: ${(bytesPerSecond / 1e6).toFixed(1)} MB/s\n`);
}

async function fetchFrom(port: number, path: string): Promise<IncomingMessage> {
  const { promise, resolve, reject } = Promise.withResolvers<IncomingMessage>();
  get({ port, path, host: "127.0.0.1", agent: false }, resolve).on("error", reject);
  return promise;
}

async function bodyOf(port: number, path: string): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of await fetchFrom(port, path)) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

describe("from the host", { timeout: TIMEOUT_MS }, () => {
  test("redis-cli works with redis in the guest", async (context) => {
    const tool = await hostTool("redis-cli");
    if (tool.kind === "skipped") return context.skip(tool.reason);
    const cli = async (...args: string[]) => {
      const { stdout } = await runProcess(tool.command, ["-p", String(ports.redis), ...args]);
      return stdout.trim();
    };
    expect(await cli("set", "answer", "42")).toBe("OK");
    expect(await cli("get", "answer")).toBe("42");
  });

  test("redis-benchmark runs without an error", async (context) => {
    const tool = await hostTool("redis-benchmark");
    if (tool.kind === "skipped") return context.skip(tool.reason);
    const args = ["-p", String(ports.redis), "-t", "set,get", "-n", "2000", "-c", "50", "--csv"];
    const { stdout, exitCode } = await runProcess(tool.command, args);
    expect(exitCode).toBe(0);
    expect(stdout.match(/^"(SET|GET)","[\d.]+"/gm)).toHaveLength(2);
  });

  test("a large file of lighttpd's arrives as it is, by curl", async (context) => {
    const tool = await hostTool("curl");
    if (tool.kind === "skipped") return context.skip(tool.reason);
    const path = join(directory, "big");
    const url = `http://127.0.0.1:${ports.http}/big`;
    const format = "%{http_code} %{size_download} %{speed_download}";
    const args = ["-sS", "-o", path, "-w", format, url];
    const { stdout, stderr } = await runProcess(tool.command, args);
    const [status, bytes, speed] = stdout.split(" ");
    expect([stderr, status, bytes]).toEqual(["", "200", String(BYTES)]);
    tellSpeed("from the guest's lighttpd", Number(speed));
    const hash = createHash("sha256");
    for await (const part of createReadStream(path)) hash.update(part as Buffer);
    const want = (await guest.run("sha256sum /var/www/html/big")).split(" ")[0];
    expect(hash.digest("hex")).toBe(want);
  });

  test("Python's http.server answers", async () => {
    const page = await bodyOf(ports.python, "/");
    expect(page.toString()).toContain("lighttpd in a Déjà VM guest");
  });

  test(`${CONNECTIONS} connections are open at once, and each is answered`, async () => {
    const sockets = Array.from({ length: CONNECTIONS }, () =>
      createConnection({ port: ports.redis, host: "127.0.0.1" }),
    );
    const answers = sockets.map(async (socket, i) => {
      socket.write(`ECHO ${i}\r\n`);
      const [bytes] = (await once(socket, "data")) as [Buffer];
      return bytes.toString();
    });
    const got = await Promise.all(answers);
    expect(got).toEqual(got.map((_, i) => `$${String(i).length}\r\n${i}\r\n`));
    for (const socket of sockets) socket.destroy();
  });

  test("[NE6] a reader that does not read costs little memory", async () => {
    const resident = () => {
      const status = readFileSync(`/proc/${guest.pid}/status`, "utf8");
      return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1]) * 1024;
    };
    const before = resident();
    const responses = await Promise.all([1, 2, 3, 4].map(() => fetchFrom(ports.http, "/big")));
    for (const response of responses) response.pause();
    await guest.run("sleep 2");
    expect(resident() - before).toBeLessThan(4 * BYTES * 0.75);
    const sums = responses.map(async (response) => {
      let bytes = 0;
      for await (const part of response) bytes += (part as Buffer).length;
      return bytes;
    });
    expect(await Promise.all(sums)).toEqual([BYTES, BYTES, BYTES, BYTES]);
  });

  test("UDP reaches the guest and comes back", async () => {
    const server =
      "import socket; s=socket.socket(2,2); s.bind(('',7)); print('up',flush=True); " +
      "d,a=s.recvfrom(9999); s.sendto(d[::-1],a)";
    await guest.run(
      `python3 -c "${server}" >/tmp/up & until grep -q up /tmp/up; do sleep 0.1; done`,
    );
    const socket = createSocket("udp4");
    const question = Buffer.from(content.subarray(0, 4000));
    socket.send(question, ports.echo, "127.0.0.1");
    const [answer] = (await once(socket, "message")) as [Buffer];
    expect(Buffer.compare(answer, question.reverse())).toBe(0);
    socket.close();
  });
});

describe("from the guest", { timeout: TIMEOUT_MS }, () => {
  test("a large file of the host's arrives as it is", async () => {
    const { port } = fileServer.address() as AddressInfo;
    const start = performance.now();
    const sum = await guest.run(`wget -q -O - http://10.0.2.2:${port}/ | sha256sum`);
    tellSpeed("to the guest's wget", BYTES / ((performance.now() - start) / 1000));
    const parts = Array.from({ length: MEBIBYTES }, () => content);
    expect(sum.split(" ")[0]).toBe(sha256(parts));
  });

  test("names are looked up at the resolver", async () => {
    expect(await guest.run("nslookup moved.dejavm.test")).toContain("192.0.2.77");
    expect(await guest.run("nslookup unknown.dejavm.test")).toContain("NXDOMAIN");
  });

  test("[NE3] what is not allowed is refused at once", async () => {
    const said = await guest.run(`wget -T 20 -O - http://10.0.2.2:${ports.echo}/`);
    expect(said).toContain("Connection refused");
    expect(await guest.run("wget -T 20 -O - http://169.254.169.254/")).toContain("refused");
  });

  test("the gateway answers pings", async () => {
    expect(await guest.run("ping -c 2 10.0.2.2")).toContain("2 packets received");
  });
});
