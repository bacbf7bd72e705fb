/**
 * The same work under QEMU's record/replay: one boot with `-icount`, one that records, one that
 * replays. QEMU does not get on while it records a console that somebody could type on, so an
 * archive behind the initramfs has the work, and the guest does it instead of its own start.
 */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { makeCpio, type ResolvedImage } from "@dejavm/image";
import { freePort } from "../free-port.ts";
import { GuestConsole } from "../guest-console.ts";
import { GUEST_PORT } from "./guest.ts";
import { WORK, WORKLOADS, type WorkloadName } from "./workloads.ts";

/** What QEMU's record/replay costs for one workload. */
export interface QemuRecorded {
  /** CPU time recorded / not recorded, both with `-icount`. */
  readonly qemuOverheadRatio: number;
  readonly qemuTraceBytesPerSecond: number;
  /** Recorded wall time / wall time of its replay. */
  readonly qemuReplaySpeed: number;
}

type Mode = "icount" | "record" | "replay";

interface Figures {
  readonly cpuSeconds: number;
  readonly wallSeconds: number;
  readonly traceBytes: number;
}

const MEMORY_MIB = 128;
const PORT_IN_HEX = GUEST_PORT.toString(16).padStart(4, "0").toUpperCase();

/** Boots three times; `folder` is for its recording. */
export async function measureQemuRecord(
  options: { qemu: string; image: ResolvedImage; folder: string },
  onProgress: (line: string) => void,
): Promise<ReadonlyMap<WorkloadName, QemuRecorded>> {
  const runs = new Map<Mode, ReadonlyMap<WorkloadName, Figures>>();
  for (const mode of ["icount", "record", "replay"] as const) {
    onProgress(`QEMU: ${mode}`);
    runs.set(mode, await runQemu(mode, options));
  }
  return new Map(
    WORKLOADS.map((name) => {
      const [plain, recorded, replayed] = (["icount", "record", "replay"] as const).map((mode) => {
        const figures = runs.get(mode)?.get(name);
        if (figures === undefined) throw new Error(`QEMU did not do ${name}`);
        return figures;
      }) as [Figures, Figures, Figures];
      return [
        name,
        {
          qemuOverheadRatio: recorded.cpuSeconds / plain.cpuSeconds,
          qemuTraceBytesPerSecond: recorded.traceBytes / recorded.wallSeconds,
          qemuReplaySpeed: recorded.wallSeconds / replayed.wallSeconds,
        },
      ];
    }),
  );
}

async function runQemu(
  mode: Mode,
  { qemu, image, folder }: { qemu: string; image: ResolvedImage; folder: string },
): Promise<ReadonlyMap<WorkloadName, Figures>> {
  const file = join(folder, "qemu-record");
  const initrd = join(folder, "qemu-initrd");
  writeFileSync(initrd, Buffer.concat([padded(readFileSync(image.initrd)), workArchive()]));
  const port = await freePort();
  const guest = {
    kernel: image.kernel,
    initrd,
    disks: [],
    memoryMib: MEMORY_MIB,
    commandLine: `${image.manifest.commandLine} console=ttyS0 quiet panic=-1 rdinit=/work`,
  };
  const options = [
    "-icount",
    mode === "icount" ? "shift=auto" : `shift=auto,rr=${mode},rrfile=${file}`,
    // A disk whose requests are recorded lies beneath a driver of its own.
    "-drive",
    `file=${image.disk},format=raw,if=none,id=base,snapshot=on`,
    "-drive",
    "driver=blkreplay,if=none,image=base,id=root",
    "-device",
    "virtio-blk-device,drive=root",
    "-netdev",
    `user,id=net,hostfwd=tcp:127.0.0.1:${port}-:${GUEST_PORT}`,
    "-device",
    "virtio-net-device,netdev=net",
    ...(mode === "icount" ? [] : ["-object", "filter-replay,id=replay,netdev=net"]),
  ];
  const console = GuestConsole.startQemu(qemu, guest, options, join(folder, "qemu-console"));
  const size = (): number => (mode === "record" ? statSync(file).size : 0);
  try {
    const figures = new Map<WorkloadName, Figures>();
    for (const name of WORKLOADS) {
      await console.read(`begin ${name}`);
      const before = { cpu: console.cpuSeconds, wall: console.wallSeconds, bytes: size() };
      if (name === "network" && mode !== "replay") {
        await console.read("listening");
        await send(port);
      }
      await console.read(`end ${name}`);
      figures.set(name, {
        cpuSeconds: console.cpuSeconds - before.cpu,
        wallSeconds: console.wallSeconds - before.wall,
        traceBytes: size() - before.bytes,
      });
    }
    // A recording is complete once its process has ended by itself.
    if (mode === "record") await console.off();
    return figures;
  } finally {
    await console.end();
  }
}

async function send(port: number): Promise<void> {
  const socket = connect(port, "127.0.0.1");
  const closed = once(socket, "close");
  socket.end(randomBytes(WORK.networkBytes));
  await closed;
}

/** Archives of an initramfs stand at multiples of four. */
function padded(archive: Uint8Array): Uint8Array {
  return Buffer.concat([archive, new Uint8Array(-archive.length & 3)]);
}

/** What runs instead of the guest's first program: the same, with the work at its end. */
function workArchive(): Uint8Array {
  const work = WORKLOADS.map((name) => `echo begin ${name}; ${commandOf(name)}; echo end ${name}`);
  // There is little else than a shell.
  const first = [
    "#!/bin/sh",
    "read -r work < /commands",
    "while IFS= read -r line; do",
    "  case $line in",
    `  *switch_root*) echo 'exec switch_root /root /bin/sh -c "$work"' ;;`,
    `  *) printf '%s\\n' "$line" ;;`,
    "  esac",
    "done < /init > /init-work",
    ". /init-work",
  ];
  return makeCpio([
    { kind: "file", path: "work", content: lines(first), executable: true },
    { kind: "file", path: "commands", content: lines([[...work, "poweroff -f"].join("; ")]) },
  ]);
}

function lines(text: readonly string[]): Uint8Array {
  return Buffer.from(`${text.join("\n")}\n`);
}

function commandOf(name: WorkloadName): string {
  switch (name) {
    case "idle":
      return `sleep ${WORK.idleSeconds}`;
    case "cpu":
      return WORK.cpuCommand;
    case "network":
      return (
        `modprobe -q virtio_net; ip addr add 10.0.2.15/24 dev eth0; ip link set eth0 up; ` +
        `nc -l -p ${GUEST_PORT} > /dev/null & ` +
        // A line of that port in state 0A, which is "listen".
        `until grep -q ':${PORT_IN_HEX} .* 0A ' /proc/net/tcp*; do sleep 0.1; done; ` +
        `echo listening; wait`
      );
  }
}
