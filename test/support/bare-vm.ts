/** A recorded machine with the guest that counts, as one of `dejavm run --name` that has ended. */
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { ControlClient } from "@dejavm/agent";
import { openLogStore } from "@dejavm/log-store";
import { bareVmConfig, createNamedVm } from "@dejavm/source-agent";
import { countingGuest, countsIn } from "../recovery/counting-guest.ts";

const POWER = { entropySeed: new Uint8Array(32), wallTimeNs: 0n };

/** Makes it, and leaves it in the store of that state directory. */
export async function keepBareVm(stateDir: string, name: string): Promise<void> {
  mkdirSync(stateDir, { recursive: true, mode: 0o700 });
  const firmware = join(stateDir, `${name}.firmware`);
  writeFileSync(firmware, countingGuest());
  const store = openLogStore(join(stateDir, "store"));
  try {
    const { vm, recorded } = await createNamedVm(
      {
        store,
        name,
        spec: { limit: undefined, digestAtEnd: false },
        events: { onConsole: () => undefined },
        onNotice: () => undefined,
      },
      bareVmConfig(firmware, { originNs: BigInt(Date.now()) * 1_000_000n }),
      POWER,
    );
    recorded.close();
    await vm.terminate();
  } finally {
    store.close();
  }
}

/** Types one letter to such a guest, which has had `before`; gives how many it has had then. */
export async function countOnce(
  client: ControlClient,
  name: string,
  before: number,
): Promise<number> {
  const stream = await client.stream(`/v1/vms/${name}/console`);
  const counted = Promise.withResolvers<number>();
  let said = "";
  stream.on("message", (data: Buffer, isBinary: boolean) => {
    if (!isBinary) return counted.reject(new Error(data.toString("utf8")));
    said += data.toString("latin1");
    // What it said lately comes first.
    const last = countsIn(said).at(-1) ?? 0;
    if (last > before) counted.resolve(last);
  });
  stream.send(Buffer.from("x"));
  try {
    return await counted.promise;
  } finally {
    stream.close();
  }
}
