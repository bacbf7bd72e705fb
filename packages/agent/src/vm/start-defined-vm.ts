/** From a definition to a machine that runs: finds its image, reads its files, starts it. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { resolveImage } from "@dejavm/image";
import { fileError, inspectDiskFile, type StartSpec, VirtualMachine } from "@dejavm/vm";
import type { VmDefinition } from "../control/api.ts";
import { RunningVm } from "./running-vm.ts";

/** Locally administered, as QEMU's default card's neighbour. */
const MAC = Uint8Array.of(0x52, 0x54, 0x00, 0xde, 0x0a, 0x01);
/** The 16550 UART, as on QEMU's board; a `console=` after it overrides it. */
const CONSOLE = "console=ttyS0";

/** Throws E_IMAGE_*, E_FILE_*, E_DISK_* and what the machine refuses. */
export async function startDefinedVm(definition: VmDefinition): Promise<RunningVm> {
  const { name, image, memoryBytes } = definition;
  // The machine tells nothing before the event after its start.
  const started: { vm?: RunningVm } = {};
  const machine = await VirtualMachine.start(await startSpec(definition), {
    onConsole: (port, bytes) => started.vm?.output(port, bytes),
    onConsoleTaken: (port, bytes) => started.vm?.taken(port, bytes),
  });
  const facts = { name, image, memoryBytes, keyboard: "uart", startedAtMs: Date.now() } as const;
  started.vm = new RunningVm(facts, machine);
  return started.vm;
}

async function startSpec(definition: VmDefinition): Promise<StartSpec> {
  const image = await resolveImage(definition.image);
  const disks = [image.disk, ...definition.disks].map((path) => inspectDiskFile(path));
  const commandLine = [image.manifest.commandLine, CONSOLE, definition.append].join(" ").trim();
  const { entropySeed } = definition;
  return {
    source: {
      kind: "create",
      config: {
        memoryBytes: definition.memoryBytes,
        boot: {
          kind: "linux",
          kernel: read(image.kernel),
          initrd: read(image.initrd),
          commandLine,
        },
        disks: disks.map(({ sizeBytes }, index) => ({
          sizeBytes,
          readOnly: false,
          serial: `dejavm-disk${index}`,
        })),
        net: { mac: MAC },
        entropySeed: Uint8Array.from(
          entropySeed === undefined ? randomBytes(32) : Buffer.from(entropySeed, "hex"),
        ),
        wallTimeNs: BigInt(Date.now()) * 1_000_000n,
      },
    },
    disks,
    pace: "live",
    engine: "auto",
    limit: undefined,
    digestAtEnd: false,
    restartOnReset: true,
  };
}

function read(path: string): Uint8Array {
  try {
    const bytes = readFileSync(path);
    return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.length);
  } catch (error) {
    throw fileError(`read ${path}`, error);
  }
}
