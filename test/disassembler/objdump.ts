/**
 * GNU objdump's view of instructions, brought into the form of our own disassembler: compressed
 * instructions expanded (unprivileged manual, chapter "C", its tables of expansions).
 */
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { assert } from "@dejavm/base";
import { runProcess } from "@dejavm/debian";

/** Programs of the cross compiler. */
export interface Binutils {
  readonly gcc: string;
  readonly objdump: string;
}

/** One instruction's bits, and how many bytes they are. */
export interface Encoded {
  readonly bits: number;
  readonly length: 2 | 4;
}

/** Exactly the extensions that the machine has. */
const MARCH = "rv64gc_zba_zbb_zbs_zicboz_sstc";

/** What objdump says of a sequence of instructions that begins at address 0; undefined: illegal. */
export async function objdump(
  tools: Binutils,
  sequence: readonly Encoded[],
): Promise<(string | undefined)[]> {
  const directory = await mkdtemp(join(tmpdir(), "dejavm-objdump-"));
  try {
    const [source, object] = [join(directory, "a.s"), join(directory, "a.o")];
    const lines = sequence.map(({ bits, length }) => `.insn ${length}, 0x${bits.toString(16)}\n`);
    await writeFile(source, lines.join(""));
    const compile = ["-c", `-march=${MARCH}`, "-mno-relax", "-o", object, source];
    await run(tools.gcc, compile);
    const text = await run(tools.objdump, ["-d", "-z", "-M", "no-aliases", object]);
    const shown = text.split("\n").flatMap((line) => {
      const match = /^ *[0-9a-f]+:\s+[0-9a-f]+\s+(.*)$/.exec(line);
      return match?.[1] === undefined ? [] : [match[1]];
    });
    assert(shown.length === sequence.length, `${shown.length} lines for ${sequence.length}`);
    return shown.map(normalize);
  } finally {
    await rm(directory, { recursive: true });
  }
}

async function run(command: string, args: readonly string[]): Promise<string> {
  const result = await runProcess(command, args);
  assert(result.exitCode === 0, `${command} failed: ${result.stderr}`);
  return result.stdout;
}

/** Our form of a line of objdump's. */
function normalize(line: string): string | undefined {
  const [name = "", rest = ""] = line.split("\t");
  if (name === ".insn" || name === "c.unimp" || rest.endsWith(",unknown")) return undefined;
  if (name === "unimp") return "csrrw zero,cycle,zero";
  if (name === "fence.tso") return "fence rw,rw";
  // Reserved.
  if (name === "c.addi16sp" && rest === "sp,0") return undefined;
  const operands = rest.replace(/ [#<].*$/, "").split(",");
  if (operands[0] === "") return name === "c.ebreak" ? "ebreak" : name;
  const full = name.startsWith("c.") ? expand(name.slice(2), operands) : [name, ...operands];
  const isDirect = /^(b..u?|jal)$/.test(full[0] ?? "");
  if (isDirect) full.push(`0x${full.pop()}`);
  return `${full[0]} ${full.slice(1).join(",")}`;
}

/** The instruction that a compressed one stands for. */
function expand(name: string, [a = "", b = "", ...more]: readonly string[]): string[] {
  switch (name) {
    case "li":
      return ["addi", a, "zero", b];
    case "mv":
      return ["add", a, "zero", b];
    case "nop":
      return ["addi", "zero", "zero", a === "" ? "0" : a];
    case "addi4spn":
      return ["addi", a, b, ...more];
    case "addi16sp":
      return ["addi", a, a, b];
    case "j":
      return ["jal", "zero", a];
    case "jr":
      return ["jalr", "zero", `0(${a})`];
    case "jalr":
      return ["jalr", "ra", `0(${a})`];
    case "slli64":
    case "srli64":
    case "srai64":
      return [name.slice(0, -2), a, a, "0x0"];
    case "beqz":
      return ["beq", a, "zero", b];
    case "bnez":
      return ["bne", a, "zero", b];
    case "lui":
      return [name, a, b];
    default:
      // Loads and stores name an address; the rest is its own first source.
      return b.includes("(") ? [name.replace(/sp$/, ""), a, b] : [name, a, a, b];
  }
}
