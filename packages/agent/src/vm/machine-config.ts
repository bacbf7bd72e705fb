/** What a machine of this agent is made from: definitions, configurations and this host's files. */
import { randomBytes } from "node:crypto";
import { statSync } from "node:fs";
import { listImages, resolveImage } from "@dejavm/image";
import type { VmConfig, VmDisk } from "@dejavm/source-agent";
import { fingerprint, inspectDiskFile } from "@dejavm/vm";
import { z } from "zod";
import type { VmDefinition } from "../control/api.ts";
import { agentError } from "../errors.ts";
import type { FileName } from "../files/file-wire.ts";
import type { LocalFile } from "../files/send-files.ts";

/** Locally administered, as QEMU's default card's neighbour. */
const MAC = Uint8Array.of(0x52, 0x54, 0x00, 0xde, 0x0a, 0x01);
/** The 16550 UART, as on QEMU's board; a `console=` after it overrides it. */
const CONSOLE = "console=ttyS0";

/** Boot files, each a field of `VmBoot`. */
const BOOT_ROLES = ["firmware", "kernel", "initrd"] as const;

/** What is kept with a machine about its network, as text. */
export type NetworkNote = Pick<VmDefinition, "forwards" | "netAllow" | "netDeny">;

const texts = z.array(z.string()).default([]);
/** The note that `dejavm run --name` keeps, too. */
const noteSchema = z.looseObject({
  net: z.string().default("user"),
  publish: texts,
  netAllow: texts,
  netDeny: texts,
});

/** The configuration of a new machine. Throws E_IMAGE_*, E_FILE_*, E_DISK_*. */
export async function configFor(definition: VmDefinition): Promise<VmConfig> {
  const { memoryBytes, append, forwards, netAllow, netDeny } = definition;
  const image = await resolveImage(definition.image);
  const disks: VmDisk[] = [];
  for (const [index, path] of [image.disk, ...definition.disks].entries()) {
    const { sizeBytes } = inspectDiskFile(path);
    const sha256 = await fingerprint(path);
    disks.push({ path, sizeBytes, readOnly: false, serial: `dejavm-disk${index}`, sha256 });
  }
  return {
    image: image.name,
    keyboard: "uart",
    memoryBytes,
    disks,
    mac: MAC,
    boot: {
      kind: "linux",
      firmware: "",
      kernel: image.kernel,
      initrd: image.initrd,
      commandLine: [image.manifest.commandLine, CONSOLE, append].join(" ").trim(),
    },
    pace: "live",
    restarts: true,
    durable: false,
    originNs: nowNs(),
    note: JSON.stringify({ net: "user", publish: forwards, netAllow, netDeny }),
  };
}

/** What a machine is switched on with. */
export function powerFor({ entropySeed }: VmDefinition): {
  readonly entropySeed: Uint8Array;
  readonly wallTimeNs: bigint;
} {
  const seed = entropySeed === undefined ? randomBytes(32) : Buffer.from(entropySeed, "hex");
  return { entropySeed: Uint8Array.from(seed), wallTimeNs: nowNs() };
}

/** The network that a machine's configuration keeps. */
export function networkNote({ note }: VmConfig): NetworkNote {
  const parsed = noteSchema.safeParse(JSON.parse(note === "" ? "{}" : note));
  const { publish = [], netAllow = [], netDeny = [] } = parsed.success ? parsed.data : {};
  return { forwards: publish, netAllow, netDeny };
}

/** Whether its network is one that an agent makes, or none; not a helper's stream. */
export function isOnAgentsNetwork({ note }: VmConfig): boolean {
  const parsed = noteSchema.safeParse(JSON.parse(note === "" ? "{}" : note));
  return !parsed.success || !parsed.data.net.startsWith("stream:");
}

/** The files that a machine of this configuration is made of. Throws E_FILE_*. */
export async function filesOf({ disks, boot }: VmConfig): Promise<LocalFile[]> {
  const files: LocalFile[] = disks.map(({ path, sizeBytes, sha256 }, index) => {
    return { role: `disk${index}`, path, sizeBytes, sha256: hex(sha256) };
  });
  for (const role of BOOT_ROLES) {
    const path = boot?.[role] ?? "";
    if (path === "") continue;
    const { size } = statSync(path);
    files.push({ role, path, sizeBytes: size, sha256: hex(await fingerprint(path)) });
  }
  return files;
}

/** A file of this host's images, or one of `known` paths, with that content; undefined: none. */
export async function findFile(
  { sizeBytes, sha256 }: FileName,
  known: readonly string[],
): Promise<string | undefined> {
  const paths = [...known];
  for (const listed of await listImages()) {
    if ("problem" in listed) continue;
    const { disk, kernel, initrd } = await resolveImage(listed.name);
    paths.push(disk, kernel, initrd);
  }
  const want = { sizeBytes, sha256: Buffer.from(sha256, "hex") };
  for (const path of paths) if (await isThatFile(path, want)) return path;
  return undefined;
}

/**
 * The same machine with this host's files: those of `given`, by role; else disks by their contents,
 * and what it boots from the image that a disk is of. Throws E_DISK_ABSENT for a disk that is not
 * here.
 */
export async function configHere(
  config: VmConfig,
  given: ReadonlyMap<string, string> = new Map(),
): Promise<VmConfig> {
  let { boot } = config;
  for (const role of BOOT_ROLES) {
    const path = given.get(role);
    if (boot !== undefined && boot[role] !== "" && path !== undefined) {
      boot = { ...boot, [role]: path };
    }
  }
  const disks: VmDisk[] = [];
  for (const [index, disk] of config.disks.entries()) {
    const path = given.get(`disk${index}`);
    if (path !== undefined && (await isThatFile(path, disk))) {
      disks.push({ ...disk, path });
      continue;
    }
    const found = await findDisk(disk);
    disks.push({ ...disk, path: found.path });
    if (found.image === undefined || boot === undefined || boot.kernel === "") continue;
    const { kernel, initrd } = found.image;
    boot = { ...boot, kernel, initrd: boot.initrd === "" ? "" : initrd };
  }
  return { ...config, disks, boot };
}

interface FoundDisk {
  readonly path: string;
  readonly image?: { readonly kernel: string; readonly initrd: string };
}

async function findDisk(disk: VmDisk): Promise<FoundDisk> {
  for (const listed of await listImages()) {
    if ("problem" in listed) continue;
    const image = await resolveImage(listed.name);
    if (await isThatFile(image.disk, disk)) return { path: image.disk, image };
  }
  if (await isThatFile(disk.path, disk)) return { path: disk.path };
  throw agentError(
    "E_DISK_ABSENT",
    `no disk image here has the sha256 ${hex(disk.sha256)}, as ${disk.serial} has`,
    "copy the image to this host, or build the same one: dejavm image build",
  );
}

type Content = Pick<VmDisk, "sizeBytes" | "sha256">;

async function isThatFile(path: string, { sizeBytes, sha256 }: Content): Promise<boolean> {
  try {
    if (statSync(path).size !== sizeBytes) return false;
    return Buffer.compare(await fingerprint(path), sha256) === 0;
  } catch {
    return false;
  }
}

function hex(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString("hex");
}

function nowNs(): bigint {
  return BigInt(Date.now()) * 1_000_000n;
}
