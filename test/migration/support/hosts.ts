/** A source and a target in one process, with real machines in real threads. */
import { type LogStore, MemoryLogStore } from "@dejavm/log-store";
import type { RestoreConfig } from "@dejavm/machine";
import type { ControlMessageOf, Reason } from "@dejavm/protocol";
import {
  type OwnershipWish,
  type SourceMigration,
  type SourceOptions,
  type SourceProgress,
  startSourceMigration,
} from "@dejavm/source-agent";
import { Acceptor, type TakenMachine, type TargetHost } from "@dejavm/target-agent";
import {
  type DiskFile,
  type StartSpec,
  VirtualMachine,
  type VmReport,
  type VmRequest,
} from "@dejavm/vm";
import { Path } from "./sockets.ts";

/** A live machine and everything it said. */
export class LiveMachine {
  readonly reports: VmReport[] = [];
  listener: ((report: VmReport) => void) | undefined;
  #vm: VirtualMachine | undefined;
  #said = "";

  static async start(spec: StartSpec): Promise<LiveMachine> {
    const machine = new LiveMachine();
    machine.#vm = await VirtualMachine.start(spec, {
      onConsole: () => undefined,
      onOutputs: (report) => machine.#hear(report),
      onReport: (report) => machine.#hear(report),
    });
    return machine;
  }

  get vm(): VirtualMachine {
    if (this.#vm === undefined) throw new Error("it has not been started");
    return this.#vm;
  }

  /** All console output, of all consoles. */
  get said(): string {
    return this.#said;
  }

  type(text: string, port: "uart" | "hvc" = "uart"): void {
    this.vm.sendConsole(port, Buffer.from(text));
  }

  #hear(report: VmReport): void {
    if (report.kind === "outputs") {
      for (const output of report.outputs) {
        if (output.kind !== "console") continue;
        this.#said += Buffer.from(output.bytes).toString("latin1");
        this.vm.request({ kind: "written", bytes: output.bytes.length });
      }
    }
    this.listener?.(report);
  }
}

/** What a target is made with. */
export interface TargetHostOptions {
  readonly store?: LogStore;
  readonly config: RestoreConfig;
  readonly disks?: readonly DiskFile[];
  /** An offer is judged once this has settled; what it answers is why not. */
  readonly beforeJudging?: () => Promise<Reason | undefined | void>;
  /** Sees each request to the machine before it does, and may alter it, or keep it waiting. */
  readonly intercept?: (request: VmRequest, machine: LiveMachine) => VmRequest | Promise<VmRequest>;
}

/** A host that takes machines. */
export class Target {
  readonly store: LogStore;
  readonly acceptor: Acceptor;
  taken = Promise.withResolvers<TakenMachine>();
  machine: LiveMachine | undefined;
  readonly #options: TargetHostOptions;

  constructor(options: TargetHostOptions) {
    this.#options = options;
    this.store = options.store ?? new MemoryLogStore();
    this.acceptor = new Acceptor(this.#host());
  }

  #host(): TargetHost {
    const { config, disks = [], intercept = (request) => request } = this.#options;
    return {
      store: this.store,
      agent: "target",
      judge: async (offer) => {
        const reason = await this.#options.beforeJudging?.();
        if (reason) return { kind: "refuse", reason };
        return {
          kind: "accept",
          has: {
            hasBase: offer.disks.map(() => true),
            checkpoints: [],
            freeMemoryBytes: 2 ** 31,
            freeDiskBytes: 2 ** 36,
          },
        };
      },
      makeMachine: async (_offer, { checkpoint, state, trace }, onReport) => {
        const machine = await LiveMachine.start({
          source: { kind: "checkpoint", id: checkpoint, config, state, trace },
          disks,
          pace: "live",
          limit: undefined,
          digestAtEnd: false,
        });
        machine.listener = onReport;
        this.machine = machine;
        let order = Promise.resolve();
        const inOrder = async (request: VmRequest): Promise<void> => {
          machine.vm.request(await intercept(request, machine));
        };
        return {
          request: (request) => {
            order = order.then(() => inOrder(request));
          },
          terminate: () => machine.vm.terminate(),
        };
      },
      bases: () => disks.map(({ path }) => path),
      tookOver: (taken) => this.taken.resolve(taken),
    };
  }
}

/** What `migrate` is told. */
export interface MigrateOptions {
  readonly machine: LiveMachine;
  readonly target: Target;
  readonly offer: Omit<ControlMessageOf<"offer">, "kind" | "migration" | "maxDowntimeMs">;
  readonly path?: Path;
  readonly session?: Partial<SourceOptions>;
  readonly bases?: readonly string[];
  readonly onRecord?: (wish: OwnershipWish) => void | Promise<void>;
  readonly onProgress?: (progress: SourceProgress) => void;
}

/** Moves a machine from this process to this process. */
export function migrate(options: MigrateOptions): SourceMigration {
  const { machine, target, offer, path = new Path(2), bases, onRecord, onProgress } = options;
  let links = 0;
  const maxDowntimeMs = options.session?.maxDowntimeMs ?? 100;
  const migration = startSourceMigration({
    session: {
      maxDowntimeMs,
      minShare: 0.5,
      ifNotConverging: "slow",
      offer: { kind: "offer", migration: "m1", maxDowntimeMs, ...offer },
      peer: "target",
      negotiateMs: 20_000,
      frontierMs: 5,
      maxSavedPages: 16_384,
      ...options.session,
    },
    request: (request) => machine.vm.request(request),
    record: (wish) => onRecord?.(wish),
    dial: path.dial((socket) => target.acceptor.accept(socket)),
    agent: "source",
    linkName: () => `link-${Math.random().toString(36).slice(2)}-${links++}`,
    ...(onProgress && { onProgress }),
    ...(bases && { bases }),
  });
  machine.listener = (report) => migration.handleReport(report);
  return migration;
}
