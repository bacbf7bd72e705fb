import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { bareMachine } from "@dejavm/machine";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { DiskFile } from "./disk-file.ts";
import { inspectDiskFile } from "./disk-file.ts";
import type { StartSpec } from "./machine-maker.ts";
import { inspectSnapshot } from "./snapshot-file.ts";
import { VirtualMachine } from "./virtual-machine.ts";

/** `j .`: a program that counts positions and nothing else. */
const SPIN = [0x0000006f];
/** Writes 0x5555, "pass", to the test device. */
const POWER_OFF = [0x001002b7, 0x00005337, 0x55530313, 0x0062a023, ...SPIN];
/** Writes 0x7777, "reset", to the test device. */
const RESET = [0x001002b7, 0x00007337, 0x77730313, 0x0062a023, ...SPIN];
/** Echoes the UART: waits for LSR.DR, reads RBR, writes THR. */
const ECHO = [0x100002b7, 0x0052c303, 0x00137313, 0xfe030ce3, 0x0002c303, 0x00628023, 0xfedff06f];

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-vm-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

function spec(program: readonly number[], more: Partial<StartSpec> = {}): StartSpec {
  const config = bareMachine(program, {
    disks: (more.disks ?? []).map(({ sizeBytes }) => ({ sizeBytes, readOnly: false, serial: "d" })),
  });
  return {
    source: { kind: "create", config },
    disks: [],
    pace: "none",
    limit: undefined,
    digestAtEnd: true,
    restart: config.boot,
    ...more,
  };
}

const quiet = { onConsole: () => undefined };

async function runTo(start: StartSpec, limit: bigint): Promise<VirtualMachine> {
  const there = Promise.withResolvers<void>();
  const vm = await VirtualMachine.start({ ...start, limit }, { ...quiet, onLimit: there.resolve });
  await there.promise;
  return vm;
}

function makeDisk(byte: number): DiskFile {
  const path = join(directory, "disk.img");
  writeFileSync(path, new Uint8Array(4096).fill(byte));
  return inspectDiskFile(path);
}

describe("virtual machine", () => {
  test("ends with what the guest says", async () => {
    const vm = await VirtualMachine.start(spec(POWER_OFF), quiet);
    expect(await vm.ended).toMatchObject({ reason: { kind: "power-off", status: 0 } });
  });

  test("typed bytes reach the guest, and what it says comes back", async () => {
    const said: number[] = [];
    const vm = await VirtualMachine.start(spec(ECHO), {
      onConsole: (_port, bytes) => void said.push(...bytes),
    });
    vm.sendConsole("uart", Uint8Array.of(0x64, 0x76, 0x6d));
    await expect.poll(() => said, { timeout: 60_000 }).toEqual([0x64, 0x76, 0x6d]);
    expect((await vm.stop()).reason).toEqual({ kind: "stopped" });
  });

  test("stops exactly at its limit; two runs have one digest", async () => {
    const digests = new Set<string>();
    for (let i = 0; i < 2; i++) {
      const vm = await runTo(spec(ECHO), 2_345_678n);
      const { position, digest } = await vm.digest();
      expect(position).toBe(2_345_678n);
      digests.add(digest);
      expect((await vm.stop()).reason).toEqual({ kind: "limit" });
    }
    expect(digests.size).toBe(1);
  });

  test("a saved machine goes on as if it had never stopped", async () => {
    const path = join(directory, "a.snapshot");
    const start = spec(ECHO, { disks: [makeDisk(1)] });
    const straight = await runTo(start, 3_000_000n);
    const want = await straight.digest();
    await straight.stop();

    const first = await runTo(start, 1_000_001n);
    const saved = await first.save({ path, image: "x", thenStop: true });
    expect(saved.position).toBe(1_000_001n);
    expect(inspectSnapshot(path)).toMatchObject({ image: "x", position: 1_000_001n });
    expect(readdirSync(directory).sort()).toEqual(["a.snapshot", "disk.img"]);

    const second = await runTo({ ...start, source: { kind: "restore", path } }, 3_000_000n);
    expect((await second.origin).digest).toBe(saved.digest);
    expect(await second.digest()).toMatchObject({ position: want.position, digest: want.digest });
    await second.stop();
  });

  test("a guest that restarts is switched on again, in every run alike", async () => {
    const ends = [];
    for (let i = 0; i < 2; i++) {
      const vm = await runTo(spec(RESET), 100n);
      ends.push(await vm.stop());
    }
    const [first, second] = ends;
    expect(first?.restarts).toBeGreaterThan(5);
    expect(first?.position).toBe(100n);
    expect(second).toEqual(first);
  });

  test("a restart is the end where asked for, or where the machine came from a file", async () => {
    const { restart: _, ...without } = spec(RESET);
    const once = await VirtualMachine.start(without, quiet);
    expect(await once.ended).toMatchObject({ reason: { kind: "reset" }, restarts: 0 });
    const path = join(directory, "a.snapshot");
    const vm = await runTo(spec(RESET), 2n);
    await vm.save({ path, thenStop: true });
    const restored = await VirtualMachine.start(
      { ...without, source: { kind: "restore", path } },
      quiet,
    );
    expect((await restored.ended).reason).toEqual({ kind: "reset" });
  });

  test("a live machine that was a file for a while shows the time of now", async () => {
    const path = join(directory, "a.snapshot");
    const live = spec(SPIN, { pace: "live" });
    const first = await VirtualMachine.start(live, quiet);
    const saved = await first.save({ path, thenStop: true });
    await new Promise((resolve) => {
      setTimeout(resolve, 1200);
    });
    const second = await VirtualMachine.start(
      { ...live, source: { kind: "restore", path } },
      quiet,
    );
    await expect
      .poll(async () => (await second.digest()).ticks - saved.ticks)
      .toBeGreaterThan(11_900_000n);
    await second.stop();
  });

  test("a snapshot that cannot be written leaves nothing, and the machine goes on", async () => {
    const path = join(directory, "none", "a.snapshot");
    const vm = await runTo(spec(SPIN), 1000n);
    await expect(vm.save({ path, thenStop: true })).rejects.toMatchObject({
      code: "E_FILE_NOT_FOUND",
    });
    expect(existsSync(path)).toBe(false);
    expect((await vm.digest()).position).toBe(1000n);
    await vm.stop();
  });

  test("a damaged snapshot starts nothing", async () => {
    const path = join(directory, "a.snapshot");
    const vm = await runTo(spec(SPIN), 1000n);
    await vm.save({ path, thenStop: true });
    const bytes = readFileSync(path);
    const restore = spec(SPIN, { source: { kind: "restore", path } });
    for (const at of [5, 9, 100, bytes.length >> 1, bytes.length - 1]) {
      const copy = Buffer.from(bytes);
      copy[at] = (copy[at] ?? 0) ^ 0x10;
      writeFileSync(path, copy);
      await expect(VirtualMachine.start(restore, quiet)).rejects.toMatchObject({
        code: expect.stringMatching(/^E_SNAPSHOT_/) as unknown,
      });
    }
  });

  test("what is wrong with a configuration is told by its code", async () => {
    const wrong = spec([]);
    await expect(VirtualMachine.start(wrong, quiet)).rejects.toMatchObject({
      code: "E_FIRMWARE_TOO_BIG",
    });
  });

  test("requests after the end are refused", async () => {
    const vm = await VirtualMachine.start(spec(POWER_OFF), quiet);
    await vm.ended;
    await expect(vm.digest()).rejects.toMatchObject({ code: "E_STOPPED" });
  });
});
