/** The machine as a subject. */
import {
  bareMachine,
  DEFAULT_POLICY,
  EAGER_JIT,
  Machine,
  type MachineOptions,
  NO_JIT,
  position,
  ticks,
} from "@dejavm/machine";
import { REGION_BYTES } from "./layout.ts";
import type { RunResult, Subject } from "./subject.ts";

const PAGE_BYTES = 4096;
/** Programs of the default size need some tens of thousands. */
const POSITION_LIMIT = position(20_000_000n);
const NO_IDLE_SKIP = ticks(0n);

function testRegion(machine: Machine): Uint8Array {
  const ram = new Uint8Array(REGION_BYTES);
  for (let page = 0; page < REGION_BYTES / PAGE_BYTES; page++) {
    const bytes = machine.readPage(page);
    if (bytes !== undefined) ram.set(bytes, page * PAGE_BYTES);
  }
  return ram;
}

/** Ways to execute, by the name that `--engine` takes. */
const ENGINES: Readonly<Record<string, MachineOptions>> = {
  auto: { jit: DEFAULT_POLICY },
  interpreter: { jit: NO_JIT },
  branches: { jit: NO_JIT, dispatch: "branches" },
  jit: { jit: EAGER_JIT },
  random: {
    jit: { ...EAGER_JIT, threshold: 2, supervisorThreshold: 2, warm: 1, seed: 0x0dd5 },
    dispatch: "branches",
  },
};

export class MachineSubject implements Subject {
  readonly name: string;
  readonly #options: MachineOptions;

  /** `engine` is a key of ENGINES. */
  constructor(engine: string) {
    const options = ENGINES[engine];
    if (options === undefined) throw new Error(`unknown engine ${engine}`);
    this.name = engine;
    this.#options = options;
  }

  run(image: Uint8Array): Promise<RunResult> {
    const machine = Machine.create(bareMachine(image), this.#options);
    const reason = machine.run(POSITION_LIMIT, NO_IDLE_SKIP);
    const where = `at pc ${machine.pc.toString(16)}, position ${machine.position}`;
    const ram = testRegion(machine);
    switch (reason.kind) {
      case "power-off":
        return Promise.resolve({
          stop: reason.status === 0 ? "exit" : "other",
          detail: `status ${reason.status}`,
          ram,
        });
      case "budget":
      case "idle":
        return Promise.resolve({ stop: "timeout", detail: `${reason.kind} ${where}`, ram });
      default:
        return Promise.resolve({ stop: "other", detail: `${reason.kind} ${where}`, ram });
    }
  }

  close(): Promise<void> {
    return Promise.resolve();
  }
}
