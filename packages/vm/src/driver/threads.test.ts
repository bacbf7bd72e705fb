import { bareMachine } from "@dejavm/machine";
import { expect, onTestFinished, test } from "vitest";
import { prepareThread } from "./threads.ts";
import { VirtualMachine } from "./virtual-machine.ts";

/** addi a0, a0, 1; j -4 */
const COUNTING = [0x0015_0513, 0xffdf_f06f];

async function digestAt1000(): Promise<string | undefined> {
  const limit = Promise.withResolvers<void>();
  const vm = await VirtualMachine.start(
    {
      source: { kind: "create", config: bareMachine(COUNTING) },
      disks: [],
      pace: "none",
      limit: 1000n,
      digestAtEnd: true,
    },
    { onConsole: () => undefined, onLimit: limit.resolve },
  );
  onTestFinished(() => vm.terminate());
  await limit.promise;
  return (await vm.stop()).digest;
}

test("a machine in a prepared thread is like any other; the next one gets its own", async () => {
  const usual = await digestAt1000();
  expect(usual).toMatch(/^[0-9a-f]{32}$/);
  prepareThread(96 * 2 ** 20);
  prepareThread(64 * 2 ** 20);
  expect(await digestAt1000()).toBe(usual);
  expect(await digestAt1000()).toBe(usual);
});
