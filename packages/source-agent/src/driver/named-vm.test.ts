/** Machines with names on a store that outlives their process, as far as a test is one. */
import { hash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import {
  type LineageId,
  type LineageWriter,
  MemoryLogStore,
  MemoryStorage,
} from "@dejavm/log-store";
import { afterEach, beforeEach, expect, onTestFinished, test, vi } from "vitest";
import { echoConfig, RESTARTING } from "../test-support/counting-echo.ts";
import type { VmConfig } from "../vm-config.ts";
import {
  createNamedVm,
  findNamedVm,
  type NamedVm,
  type NamedVmOptions,
  resumeNamedVm,
} from "./named-vm.ts";

const POWER = { entropySeed: new Uint8Array(32), wallTimeNs: 0n };

let directory = "";
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-named-"));
});
afterEach(() => rmSync(directory, { recursive: true }));

/** A store whose disk may be full. */
class SmallStore extends MemoryLogStore {
  isFull = false;

  override openLineage(lineage: LineageId): LineageWriter {
    const writer = super.openLineage(lineage);
    const append = writer.append.bind(writer);
    writer.append = (...args) => {
      if (this.isFull) throw new CodedError("E_DISK_FULL", "cannot append: the disk is full");
      append(...args);
    };
    return writer;
  }
}

/** A process that runs a machine; it may die at any moment. */
class Process {
  said = "";
  readonly notices: string[] = [];
  readonly store: SmallStore;
  #named: NamedVm | undefined;

  constructor(storage: MemoryStorage) {
    this.store = new SmallStore({ storage });
  }

  get options(): NamedVmOptions {
    return {
      store: this.store,
      name: "web",
      spec: { limit: undefined, digestAtEnd: false },
      events: { onConsole: (_port, bytes) => void (this.said += Buffer.from(bytes).toString()) },
      onNotice: (line) => this.notices.push(line),
    };
  }

  async create(more: Partial<VmConfig> = {}, program?: readonly number[]): Promise<void> {
    const config = echoConfig(directory, more, program);
    this.#run(await createNamedVm(this.options, config, POWER));
  }

  async resume(): Promise<void> {
    this.#run(await resumeNamedVm(this.options));
  }

  #run(named: NamedVm): void {
    this.#named = named;
    onTestFinished(() => named.vm.terminate());
  }

  get named(): NamedVm {
    if (this.#named === undefined) throw new Error("it runs");
    return this.#named;
  }

  get checkpoints(): number {
    const [lineage] = this.store.lineages();
    return lineage === undefined ? 0 : this.store.checkpoints(lineage.id).length;
  }

  async type(text: string, answer: string): Promise<void> {
    const before = this.said.length;
    this.named.vm.sendConsole("uart", Buffer.from(text));
    await vi.waitFor(() => expect(this.said.slice(before)).toBe(answer), 60_000);
  }

  /** Whatever was under way is lost; what the store has stays. */
  async die(): Promise<void> {
    await this.named.vm.terminate();
    this.named.recorded.close();
  }
}

test("[RV3] what a machine does after it was let go of is not seen", async () => {
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create();
  await first.type("a", "a1");
  first.named.recorded.close();
  const { vm } = first.named;
  const { position } = await vm.digest();
  vm.sendConsole("uart", Buffer.from("b"));
  await vi.waitFor(async () => {
    expect((await vm.digest()).position).toBeGreaterThan(position + 1_000_000n);
  }, 60_000);
  expect(first.said).toBe("a1");
  await vm.terminate();
  const next = new Process(storage);
  await next.resume();
  await next.type("x", "x2");
  await next.die();
});

test("[RV3] a machine whose process died goes on from what was seen, again and again", async () => {
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create();
  await first.type("a", "a1");
  await first.type("b", "b2");
  await first.die();
  for (const count of [3, 4]) {
    const next = new Process(storage);
    await next.resume();
    await next.type("x", `x${count}`);
    await next.die();
  }
});

test("[RV3] a machine that was stopped goes on from there", async () => {
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create({ durable: true });
  await first.type("a", "a1");
  await first.named.vm.stop();
  first.named.recorded.close();
  const next = new Process(storage);
  await next.resume();
  await next.type("b", "b2");
  await next.die();
});

test("[RV3] resets are crossed; a machine that was switched off is switched on", async () => {
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create({}, RESTARTING);
  await vi.waitFor(() => expect(first.said).toBe("R"), 60_000);
  await first.type("x", "R");
  await first.die();
  const second = new Process(storage);
  await second.resume();
  await second.type("x", "R");
  second.named.vm.sendConsole("uart", Buffer.from("o"));
  expect((await second.named.vm.ended).reason).toEqual({ kind: "power-off", status: 0 });
  second.named.recorded.close();
  const third = new Process(storage);
  await third.resume();
  await vi.waitFor(() => expect(third.said).toBe("R"), 60_000);
  await third.type("x", "R");
  await third.die();
  const fourth = new Process(storage);
  await fourth.resume();
  await fourth.type("x", "R");
  await fourth.die();
});

test.each([false, true])(
  "[RV1] the last words of a machine leave (durable: %s)",
  async (durable) => {
    const first = new Process(new MemoryStorage());
    await first.create({ durable }, RESTARTING);
    first.named.vm.sendConsole("uart", Buffer.from("o"));
    expect((await first.named.vm.ended).reason.kind).toBe("power-off");
    first.named.recorded.close();
    expect(first.said).toBe("R");
  },
);

test("[RV2] a machine that died before its first checkpoint begins anew", async () => {
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create();
  await first.die();
  expect(first.said).toBe("");
  const next = new Process(storage);
  await next.resume();
  await next.type("a", "a1");
  await next.die();
});

test("[RV5] a store that takes no more: it runs on, and is recorded again", async () => {
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create();
  await first.type("a", "a1");
  first.store.isFull = true;
  await first.type("b", "b2");
  expect(first.named.recorded.state).toBe("stopped");
  expect(first.notices.join()).toContain("unrecorded");
  first.store.isFull = false;
  const count = first.checkpoints;
  await vi.waitFor(() => expect(first.checkpoints).toBe(count + 1), 60_000);
  await first.type("c", "c3");
  await first.die();
  const next = new Process(storage);
  await next.resume();
  await next.type("d", "d4");
  await next.die();
});

test("[RV5] a durable machine stands still while the store takes nothing", async () => {
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create({ durable: true });
  await first.type("a", "a1");
  first.store.isFull = true;
  first.named.vm.sendConsole("uart", Buffer.from("b"));
  await vi.waitFor(() => expect(first.named.recorded.state).toBe("paused"), 60_000);
  expect(first.said).toBe("a1");
  first.store.isFull = false;
  await vi.waitFor(() => expect(first.said).toBe("a1b2"), 60_000);
  await first.die();
});

/** An image in the cache whose kernel is that file, which is moved there. */
function moveIntoImage(path: string): string {
  vi.stubEnv("XDG_CACHE_HOME", join(directory, "cache"));
  const folder = join(directory, "cache", "dejavm", "images", "moved");
  mkdirSync(folder, { recursive: true });
  const part = (file: string, content: Buffer) => {
    writeFileSync(join(folder, file), content);
    return { file, sizeBytes: content.length, sha256: hash("sha256", content, "hex") };
  };
  const manifest = {
    format: 1,
    name: "moved",
    specKey: "",
    packages: [],
    suite: "",
    kernelRelease: "",
    commandLine: "",
    contents: [],
    kernel: part("kernel", readFileSync(path)),
    initrd: part("initrd", Buffer.from("initrd")),
    disk: part("disk", Buffer.from("disk")),
  };
  writeFileSync(join(folder, "manifest.json"), JSON.stringify(manifest));
  rmSync(path);
  return join(folder, "kernel");
}

test("[RV6] a file that has moved is found in the image that has it, and remembered", async () => {
  onTestFinished(() => void vi.unstubAllEnvs());
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create();
  await first.type("a", "a1");
  await first.die();
  const moved = moveIntoImage(join(directory, "firmware"));
  const second = new Process(storage);
  await second.resume();
  await second.type("b", "b2");
  expect(findNamedVm(second.store, "web")?.config.boot?.firmware).toBe(moved);
  await second.die();
  writeFileSync(moved, "something else");
  rmSync(join(directory, "cache", "dejavm", "images", "moved", "checked.json"));
  await expect(new Process(storage).resume()).rejects.toThrow(/boot.firmware/);
});

test("[RV6] other boot files, another owner, another process: refused by name", async () => {
  const storage = new MemoryStorage();
  const first = new Process(storage);
  await first.create();
  await first.type("a", "a1");
  await expect(first.resume()).rejects.toThrow(/in use/);
  await first.die();
  rmSync(join(directory, "firmware"));
  const gone = new Process(storage).resume();
  await expect(gone).rejects.toThrow(/put web together: .*firmware is gone/);
  writeFileSync(join(directory, "firmware"), new Uint8Array(8));
  await expect(new Process(storage).resume()).rejects.toThrow(/boot.firmware/);
  echoConfig(directory);
  const [lineage] = first.store.lineages();
  if (lineage === undefined) throw new Error("there is one");
  const writer = first.store.openLineage(lineage.id);
  writer.recordOwnership({ epoch: 2, state: "moved", peer: "there", detail: "" });
  writer.release();
  await expect(new Process(storage).resume()).rejects.toThrow(/moved, peer there/);
});
