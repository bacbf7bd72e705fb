/** From a definition to a machine that runs: finds its image, reads its files, starts it. */
import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { Gateway, type NetworkPolicy, parseForward, parseRule } from "@dejavm/gateway";
import { resolveImage } from "@dejavm/image";
import { type BootConfig, type ConsolePort, NET_MTU } from "@dejavm/machine";
import {
  fileError,
  inspectDiskFile,
  type StartSpec,
  VirtualMachine,
  type VmReport,
} from "@dejavm/vm";
import type { VmDefinition } from "../control/api.ts";
import { gatewayForwards } from "./gateway-forwards.ts";
import { RunningVm } from "./running-vm.ts";

/** Locally administered, as QEMU's default card's neighbour. */
const MAC = Uint8Array.of(0x52, 0x54, 0x00, 0xde, 0x0a, 0x01);
/** The 16550 UART, as on QEMU's board; a `console=` after it overrides it. */
const CONSOLE = "console=ttyS0";

/** Throws E_IMAGE_*, E_FILE_*, E_DISK_*, E_NET_* and what the machine refuses. */
export async function startDefinedVm(definition: VmDefinition): Promise<RunningVm> {
  const { name, image, memoryBytes } = definition;
  const gateway = await Gateway.start({ policy: networkPolicy(definition), mtu: NET_MTU });
  // The machine tells nothing before the event after its start.
  const started: { vm?: RunningVm } = {};
  const events = {
    onConsole: (port: ConsolePort, bytes: Uint8Array) => started.vm?.output(port, bytes),
    onConsoleTaken: (port: ConsolePort, bytes: number) => started.vm?.taken(port, bytes),
    onReport: (report: VmReport) => started.vm?.handleReport(report),
    onFrame: (frame: Uint8Array) => gateway.sendFrame(frame),
  };
  let machine: VirtualMachine;
  try {
    machine = await VirtualMachine.start(await startSpec(definition), events);
  } catch (error) {
    await gateway.close();
    throw error;
  }
  gateway.plug((frame) => machine.sendFrame(frame));
  void machine.ended.catch(() => undefined).then(() => gateway.close());
  const facts = { name, image, memoryBytes, keyboard: "uart", startedAtMs: Date.now() } as const;
  started.vm = new RunningVm(facts, machine, gatewayForwards(gateway));
  return started.vm;
}

/** Denials first: what is forbidden stays so, whatever else is allowed. */
function networkPolicy({ netAllow, netDeny, forwards }: VmDefinition): NetworkPolicy {
  const rules = [
    ...netDeny.map((text) => parseRule("deny", text)),
    ...netAllow.map((text) => parseRule("allow", text)),
  ];
  return { rules, forwards: forwards.map(parseForward) };
}

async function startSpec(definition: VmDefinition): Promise<StartSpec> {
  const image = await resolveImage(definition.image);
  const disks = [image.disk, ...definition.disks].map((path) => inspectDiskFile(path));
  const commandLine = [image.manifest.commandLine, CONSOLE, definition.append].join(" ").trim();
  const { entropySeed } = definition;
  const boot: BootConfig = {
    kind: "linux",
    kernel: read(image.kernel),
    initrd: read(image.initrd),
    commandLine,
  };
  return {
    restart: boot,
    source: {
      kind: "create",
      config: {
        memoryBytes: definition.memoryBytes,
        boot,
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
