/** The three guests that are compared: the same image, served by three networks. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "../free-port.ts";

/** How a guest is run and how its network reaches it. */
export type GuestKind = "value" | "qemuSeam" | "qemu";

/** Ports of the guest's servers. */
const GUEST_PORTS = { redis: 6379, http: 80, bulk: 5001 } as const;

/** Where the host finds them. */
export type HostPorts = Readonly<Record<keyof typeof GUEST_PORTS, number>>;

/** What the guests are made from. */
export interface GuestFiles {
  readonly kernel: string;
  readonly initrd: string;
  readonly disk: string;
  readonly commandLine: string;
  readonly qemu: string;
  /** The command line program, as it is started. */
  readonly dejavm: readonly string[];
  /** For sockets. */
  readonly directory: string;
}

const PROMPT = "root@dejavm:";
const READY = "SERVERS-UP";
const MEMORY = "256M";
const BOOT_TIMEOUT_MS = 300_000;

/** Sends or takes as many bytes as the client's 16-byte header says. */
const BULK_SERVER = `
import socket, threading
block = bytes(1 << 18)
def serve(c):
    h = c.recv(16, socket.MSG_WAITALL)
    n = int(h[1:])
    if h[:1] == b"S":
        while n > 0: n -= c.send(block[:n])
    else:
        b = bytearray(1 << 18)
        while n > 0: n -= c.recv_into(b)
        c.sendall(b"k")
    c.close()
s = socket.create_server(("", ${GUEST_PORTS.bulk}), backlog=64)
while True: threading.Thread(target=serve, args=(s.accept()[0],)).start()
`;

/** Typed at the guest's first prompt. */
const SET_UP = [
  `printf %s ${Buffer.from(BULK_SERVER).toString("base64")} | base64 -d >/tmp/bulk.py`,
  "lighttpd -f /etc/lighttpd/lighttpd.conf",
  "redis-server --protected-mode no --save '' --daemonize yes >/dev/null",
  "python3 /tmp/bulk.py &",
  "until ip addr show eth0 | grep -q 10.0.2.15; do sleep 0.2; done",
  "until redis-cli ping >/dev/null 2>&1; do sleep 0.2; done",
  "until wget -q -O /dev/null http://127.0.0.1/; do sleep 0.2; done",
  // A line of the kernel's table with the port, and the state of one who listens.
  `until grep -q ':${hexPort(GUEST_PORTS.bulk)} .* 0A ' /proc/net/tcp; do sleep 0.2; done`,
  `echo SERVERS""-UP`,
];

/** A guest with its servers up. */
export class BenchGuest {
  readonly kind: GuestKind;
  readonly ports: HostPorts;
  readonly #children: readonly ChildProcess[];

  private constructor(kind: GuestKind, ports: HostPorts, children: readonly ChildProcess[]) {
    this.kind = kind;
    this.ports = ports;
    this.#children = children;
  }

  static async start(kind: GuestKind, files: GuestFiles): Promise<BenchGuest> {
    const ports: HostPorts = {
      redis: await freePort(),
      http: await freePort(),
      bulk: await freePort(),
    };
    const children = await spawnGuest(kind, files, ports);
    const [console_] = children;
    const guest = new BenchGuest(kind, ports, children);
    try {
      if (console_ === undefined) throw new Error("a guest is a process");
      await setUp(console_);
    } catch (error) {
      await guest.stop();
      throw error;
    }
    return guest;
  }

  async stop(): Promise<void> {
    for (const child of this.#children) {
      if (child.exitCode !== null || child.signalCode !== null) continue;
      child.kill("SIGKILL");
      await once(child, "close");
    }
  }
}

/** The process with the guest's console comes first. */
async function spawnGuest(
  kind: GuestKind,
  files: GuestFiles,
  ports: HostPorts,
): Promise<ChildProcess[]> {
  const stdio = ["pipe", "pipe", "inherit"] as const;
  const forwards = entries(ports);
  const user = [
    "user,id=user",
    ...forwards.map(([guest, host]) => hostForward(guest, host)),
  ].join();
  if (kind === "qemu") {
    const args = [
      ["-machine", "virt", "-cpu", "rv64", "-m", MEMORY, "-nodefaults", "-display", "none"],
      ["-serial", "stdio", "-kernel", files.kernel, "-initrd", files.initrd],
      ["-append", files.commandLine, "-global", "virtio-mmio.force-legacy=false"],
      ["-drive", `file=${files.disk},format=raw,if=none,id=disk,snapshot=on`],
      ["-device", "virtio-blk-device,drive=disk", "-device", "virtio-net-device,netdev=user"],
      ["-device", "virtio-rng-device", "-netdev", user],
    ];
    return [spawn(files.qemu, args.flat(), { stdio: [...stdio] })];
  }
  const [command = "", ...before] = files.dejavm;
  const run = [...before, "run", "--memory", MEMORY];
  if (kind === "value") {
    const publish = forwards.flatMap(([guest, host]) => ["-p", `${host}:${guest}`]);
    return [spawn(command, [...run, ...publish], { stdio: [...stdio] })];
  }
  const path = join(files.directory, "seam.sock");
  const helper = [
    ["-machine", "none", "-nodefaults", "-display", "none", "-netdev", user],
    ["-netdev", `stream,id=seam,server=on,addr.type=unix,addr.path=${path}`],
    [
      "-netdev",
      "hubport,id=h1,hubid=0,netdev=seam",
      "-netdev",
      "hubport,id=h2,hubid=0,netdev=user",
    ],
  ];
  const outside = spawn(files.qemu, helper.flat(), { stdio: ["ignore", "inherit", "inherit"] });
  for (let tries = 0; tries < 100 && !existsSync(path); tries++) await sleep(100);
  const inside = spawn(command, [...run, "--net", `stream:${path}`], { stdio: [...stdio] });
  return [inside, outside];
}

function entries(ports: HostPorts): (readonly [number, number])[] {
  return [
    [GUEST_PORTS.redis, ports.redis],
    [GUEST_PORTS.http, ports.http],
    [GUEST_PORTS.bulk, ports.bulk],
  ];
}

function hostForward(guest: number, host: number): string {
  return `hostfwd=tcp:127.0.0.1:${host}-:${guest}`;
}

/** Types the set-up at the prompt and waits for its last line. */
async function setUp(child: ChildProcess): Promise<void> {
  const ready = Promise.withResolvers<void>();
  let seen = "";
  let typed = false;
  child.stdout?.on("data", (bytes: Buffer) => {
    seen += bytes.toString("latin1");
    if (!typed && seen.includes(PROMPT)) {
      typed = true;
      child.stdin?.write(`${SET_UP.join("\n")}\n`);
    }
    if (seen.includes(READY)) ready.resolve();
  });
  const fail = (what: string): void => {
    ready.reject(new Error(`${what}; its console ends with: ${seen.slice(-800)}`));
  };
  const timer = setTimeout(() => fail("the guest's servers do not come up"), BOOT_TIMEOUT_MS);
  child.on("close", () => fail("the guest has ended"));
  child.on("error", (error) => fail(error.message));
  await ready.promise;
  clearTimeout(timer);
}

/** As in /proc/net/tcp. */
function hexPort(port: number): string {
  return port.toString(16).toUpperCase().padStart(4, "0");
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms);
  });
}
