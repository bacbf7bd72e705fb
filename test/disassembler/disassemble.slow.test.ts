/** The disassembler says of every instruction what GNU objdump says. */
import { readFileSync } from "node:fs";
import { assert, CodedError, Prng } from "@dejavm/base";
import { hostTool } from "@dejavm/debian";
import { buildImage, imageSpec } from "@dejavm/image";
import { disassemble } from "@dejavm/machine";
import { expect, type TestContext, test } from "vitest";
import { type Binutils, type Encoded, objdump } from "./objdump.ts";

const RANDOM_WORDS = 60_000;
/** Bytes of kernel code that are looked at, and where they begin in the image. */
const KERNEL = { from: 0x2000, bytes: 150_000 };
const SEED = Number(process.env["DEJAVM_SEED"] ?? 0xd15a);

async function binutils(context: TestContext): Promise<Binutils> {
  const gcc = await hostTool("riscv64-linux-gnu-gcc");
  const dump = await hostTool("riscv64-linux-gnu-objdump");
  if (gcc.kind === "skipped") return context.skip(gcc.reason);
  if (dump.kind === "skipped") return context.skip(dump.reason);
  return { gcc: gcc.command, objdump: dump.command };
}

/** The assembler takes nothing that belongs to longer formats. */
const isEncodable = (word: number): boolean => (word & 3) === 3 && (word & 0x1f) !== 0x1f;

/** Where the machine, as manuals allow, executes what objdump does not know. */
function isReserved(word: number): boolean {
  const isFence = (word & 0x7f) === 0x0f && ((word >>> 12) & 7) < 2;
  return isFence && word !== 0x0000_100f;
}

/** Instructions that the two describe differently, with both texts. */
async function differences(tools: Binutils, sequence: readonly Encoded[]): Promise<string[]> {
  const theirs = await objdump(tools, sequence);
  let pc = 0n;
  const found: string[] = [];
  for (const [i, { bits, length }] of sequence.entries()) {
    const ours = disassemble(bits, pc);
    expect(ours.length).toBe(length);
    const text = ours.text.startsWith("illegal ") ? undefined : ours.text;
    // It knows more registers than the machine has.
    const csr = /^csr\w+ \w+,(0x\w+),/.exec(text ?? "")?.[1];
    const other = csr === undefined ? theirs[i] : theirs[i]?.replace(/,\w+,/, `,${csr},`);
    if (text !== other) found.push(`${bits.toString(16)}: ${text} | ${theirs[i]}`);
    pc += BigInt(length);
  }
  return found;
}

test("[MA12] every compressed instruction", async (context) => {
  const all = Array.from({ length: 0x1_0000 }, (_, bits) => bits);
  const sequence = all.flatMap((bits) => ((bits & 3) === 3 ? [] : [{ bits, length: 2 } as const]));
  expect(await differences(await binutils(context), sequence)).toEqual([]);
});

test(`[MA12] random words, seed ${SEED}`, async (context) => {
  const random = new Prng(SEED);
  const sequence: Encoded[] = [];
  while (sequence.length < RANDOM_WORDS) {
    const bits = random.u32();
    if (isEncodable(bits) && !isReserved(bits)) sequence.push({ bits, length: 4 });
  }
  expect(await differences(await binutils(context), sequence)).toEqual([]);
});

test("[MA12] the code of Debian's kernel", async (context) => {
  const tools = await binutils(context);
  const image = await buildImage(imageSpec()).catch((error: unknown) => {
    if (error instanceof CodedError) return context.skip(error.message);
    throw error;
  });
  const kernel = readFileSync(image.image.kernel);
  const sequence: Encoded[] = [];
  for (let at = KERNEL.from; at < KERNEL.from + KERNEL.bytes; ) {
    const word = kernel.readUInt32LE(at);
    const length = (word & 3) === 3 ? 4 : 2;
    at += length;
    if (length === 2) sequence.push({ bits: word & 0xffff, length });
    else if (isEncodable(word) && !isReserved(word)) sequence.push({ bits: word, length });
  }
  const illegal = sequence.filter(({ bits }) => disassemble(bits, 0n).text.startsWith("illegal"));
  assert(illegal.length < sequence.length / 100, "that is code");
  expect(await differences(tools, sequence)).toEqual([]);
});
