/** Where QEMU is, and the processor it has to be for comparisons with the machine. */
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";

const PROGRAM = "qemu-system-riscv64";

/** A program ready to be run, or the reason why what needs it is skipped. */
export type FoundTool =
  | { readonly kind: "ready"; readonly command: string }
  | { readonly kind: "skipped"; readonly reason: string };

/** DEJAVM_QEMU if set, else what PATH gives. */
export async function findQemu(): Promise<FoundTool> {
  const given = process.env["DEJAVM_QEMU"];
  if (given !== undefined) return { kind: "ready", command: given };
  for (const folder of (process.env["PATH"] ?? "").split(delimiter)) {
    const command = join(folder, PROGRAM);
    try {
      accessSync(command, constants.X_OK);
      return { kind: "ready", command };
    } catch {
      // Not here: look in the next folder.
    }
  }
  return { kind: "skipped", reason: `no ${PROGRAM} on PATH; DEJAVM_QEMU may name one` };
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
