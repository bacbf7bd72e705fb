/** Which QEMU, and the processor it has to be for comparisons with the machine. */
import { type HostTool, hostTool } from "@dejavm/debian";

/** DEJAVM_QEMU if set, else the project's own. */
export async function findQemu(): Promise<HostTool> {
  const given = process.env["DEJAVM_QEMU"];
  return given === undefined ? hostTool("qemu-system-riscv64") : { kind: "ready", command: given };
}

/** Extensions of QEMU's rv64 that the machine lacks; they would make illegal instructions legal. */
const ABSENT = [
  "v",
  "h",
  "zawrs",
  "zfa",
  "zbc",
  "zicbom",
  "zicbop",
  "zihintntl",
  "zihintpause",
  "svinval",
  "svnapot",
  "svpbmt",
  "svvptc",
  "sv57",
  "zcb",
  "debug",
];
const PRESENT = ["zba", "zbb", "zbs", "zicboz", "sstc", "svadu"];

/** The `-cpu` option for the machine's own set of extensions. */
export const MATCHING_CPU = [
  "rv64",
  ...PRESENT.map((name) => `${name}=on`),
  ...ABSENT.map((name) => `${name}=off`),
  "pmu-mask=0",
].join(",");
