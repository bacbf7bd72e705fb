/**
 * QEMU's live migration of the benchmark's guest through the WAN rig, in the modes that are worth
 * comparing with. All with the return path on, as libvirt has it: the source then waits for the
 * target's word. The rig's end is a Unix socket, so what waits unsent in front of the path is
 * small.
 */
import { join } from "node:path";
import { z } from "zod";
import { type GuestFiles, poll, QemuGuest } from "./qemu-guest.ts";
import type { HostsCpu, MoveResult, Subject } from "./subject.ts";
import { WanProcess } from "./wan-process.ts";

/** A way to migrate with QEMU. */
export interface QemuMode {
  readonly name: string;
  readonly capabilities: readonly string[];
  readonly parameters: Readonly<Record<string, string | number>>;
  /** Post-copy: when the target goes on without the rest. */
  readonly switchOver?: "at-once" | "after-first-pass";
}

/**
 * The modes, by how they are asked for. Which of them are worth comparing with a workload is in
 * `workloads.ts`.
 */
export const QEMU_MODES: readonly QemuMode[] = [
  { name: "precopy", capabilities: [], parameters: {} },
  {
    name: "xbzrle",
    capabilities: ["xbzrle", "auto-converge"],
    parameters: { "xbzrle-cache-size": 128 * 2 ** 20 },
  },
  {
    name: "postcopy",
    capabilities: ["postcopy-ram", "postcopy-preempt"],
    parameters: {},
    switchOver: "after-first-pass",
  },
  {
    name: "postcopy-at-once",
    capabilities: ["postcopy-ram", "postcopy-preempt"],
    parameters: {},
    switchOver: "at-once",
  },
  {
    name: "multifd-zstd",
    capabilities: ["multifd"],
    parameters: { "multifd-channels": 2, "multifd-compression": "zstd" },
  },
];

const DOWNTIME_LIMIT_MS = 300;
const NO_LIMIT_BYTES_PER_SECOND = 10_000_000_000;
const POLL_MS = 50;
/** A migration that has not ended by then does not converge. */
const GIVE_UP_MS = 60_000;
const PAGE_BYTES = 4096;

const statusSchema = z.object({
  status: z.string().optional(),
  "total-time": z.number().optional(),
  ram: z
    .object({ normal: z.number(), duplicate: z.number(), total: z.number() })
    .partial()
    .optional(),
});

/** What a QEMU subject is made from. */
export interface QemuSubjectOptions {
  readonly qemu: string;
  readonly mode: QemuMode;
  readonly files: GuestFiles;
  readonly profile: string;
  /** For sockets; its path is short. */
  readonly folder: string;
  /** Where each QEMU's cable goes. */
  readonly cables: { readonly source: string; readonly target: string };
  readonly redisPort: number;
}

/** See the head of this file. */
export class QemuSubject implements Subject {
  readonly system = "qemu";
  readonly strategy: string;
  readonly redisPort: number;
  readonly #options: QemuSubjectOptions;
  readonly #source: QemuGuest;
  #target: QemuGuest | undefined;
  #wan: WanProcess | undefined;
  #moved = false;

  private constructor(options: QemuSubjectOptions, source: QemuGuest) {
    this.#options = options;
    this.strategy = options.mode.name;
    this.redisPort = options.redisPort;
    this.#source = source;
  }

  static async start(options: QemuSubjectOptions): Promise<QemuSubject> {
    const { qemu, files, folder, cables } = options;
    const cable = cables.source;
    const source = await QemuGuest.start({ qemu, files, folder, cable, incoming: false });
    return new QemuSubject(options, source);
  }

  cpuSeconds(): HostsCpu {
    return { source: this.#source.cpuSeconds, target: this.#target?.cpuSeconds ?? 0 };
  }

  run(command: string, input?: Uint8Array): Promise<string> {
    const guest = this.#moved ? this.#target : this.#source;
    if (guest === undefined) throw new Error("the guest has no host");
    return guest.run(command, input);
  }

  async move(): Promise<MoveResult> {
    const { mode, profile, folder } = this.#options;
    const targetPath = join(folder, "target");
    const { wan, address } = await WanProcess.start(
      profile,
      `unix:${join(folder, "wan")}`,
      `unix:${targetPath}`,
    );
    this.#wan = wan;
    await this.#prepareTarget(targetPath);
    const startMs = performance.now();
    await this.#source.qmp.command("migrate", { uri: address });
    const converged = await this.#follow(mode, startMs);
    const totalSeconds = (performance.now() - startMs) / 1000;
    if (!converged) await this.#source.qmp.command("migrate_cancel");
    this.#moved = converged;
    return { converged, totalSeconds, wireBytes: await wan.bytes(), digestsEqual: null };
  }

  async close(): Promise<void> {
    await Promise.all([this.#source.close(), this.#target?.close()]);
    await this.#wan?.close();
  }

  async #prepareTarget(path: string): Promise<void> {
    const { qemu, files, folder, cables, mode } = this.#options;
    const cable = cables.target;
    const target = await QemuGuest.start({ qemu, files, folder, cable, incoming: true });
    this.#target = target;
    const capabilities = [...mode.capabilities, "return-path"];
    for (const { qmp } of [this.#source, target]) {
      await qmp.command("migrate-set-capabilities", {
        capabilities: capabilities.map((capability) => ({ capability, state: true })),
      });
      await qmp.command("migrate-set-parameters", {
        "max-bandwidth": NO_LIMIT_BYTES_PER_SECOND,
        "downtime-limit": DOWNTIME_LIMIT_MS,
        ...mode.parameters,
      });
    }
    await target.qmp.command("migrate-incoming", { uri: `unix:${path}` });
  }

  /** True once it has completed. */
  async #follow(mode: QemuMode, startMs: number): Promise<boolean> {
    let switched = mode.switchOver === undefined;
    return poll(POLL_MS, async () => {
      const answer = await this.#source.qmp.command("query-migrate");
      const { status = "", ram } = statusSchema.parse(answer);
      if (status === "completed") return true;
      if (status === "failed")
        throw new Error(`QEMU's migration failed: ${JSON.stringify(answer)}`);
      if (!switched && status === "active") {
        const passed = ((ram?.normal ?? 0) + (ram?.duplicate ?? 0)) * PAGE_BYTES;
        if (mode.switchOver === "at-once" || passed >= (ram?.total ?? Infinity)) {
          await this.#source.qmp.command("migrate-start-postcopy");
          switched = true;
        }
      }
      return performance.now() - startMs > GIVE_UP_MS && status === "active" ? false : undefined;
    });
  }
}
