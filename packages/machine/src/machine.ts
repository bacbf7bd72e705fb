/**
 * The deterministic computer: hart, RAM, devices. It changes only through `run` and `input` (and
 * by being given what it lacks); everything that leaves it is collected for `takeOutputs`. Equal
 * configurations and equal inputs at equal positions give equal states and equal outputs.
 */
import { AssertionError, assert, unreachable } from "@dejavm/base";
import { Board } from "./board/board.ts";
import { type BootPlan, planBoot } from "./board/boot.ts";
import { handleSbi, type SbiResult } from "./board/sbi.ts";
import {
  type ConsolePort,
  type Missing,
  type MissingBlock,
  type Output,
  PAGE_BYTES,
  type State,
} from "./device/device.ts";
import { MMIO } from "./hart/builder.ts";
import { HartCore, NEVER } from "./hart/core.ts";
import { MSTATUS } from "./hart/csr.ts";
import type { Dispatch } from "./hart/dispatch.ts";
import { restoreHart, saveHart } from "./hart/hart-state.ts";
import { DEFAULT_POLICY, type JitPolicy, type JitStatistics } from "./hart/jit/jit.ts";
import { EXIT } from "./hart/layout.ts";
import {
  type BootConfig,
  type InputEvent,
  type InputResult,
  type MachineConfig,
  type Place,
  type Position,
  position,
  type StopReason,
  type Ticks,
  ticks,
} from "./machine-types.ts";
import { Checkpoint } from "./memory/checkpoint.ts";
import { Ram, type WatchRange } from "./memory/ram.ts";
import { RamDigest } from "./memory/ram-digest.ts";
import { SlabPool } from "./memory/saved-pages.ts";
import { fields } from "./snapshot/fields.ts";
import { encodeState } from "./snapshot/state-codec.ts";

/**
 * Number of the guest-visible behaviour: rises when the same inputs would lead somewhere else.
 */
export const SEMANTICS = 2;

/**
 * Positions that one call into generated code covers at most: V8 replaces its baseline code only
 * between calls. Times MAX_RATE it is below 64 bits.
 */
const MAX_SEGMENT = 1 << 21;
/** Virtual time at power-on runs at 100 million positions a second. */
const DEFAULT_RATE = (1n << 32n) / 10n;
/**
 * A clock event sets the rate to at most 16 ticks per position: a guest that does nothing but
 * device accesses gets little more than 10 million positions a second from a fast host.
 */
const MAX_RATE = 16n << 32n;
const STATE_VERSION = 1;
const MASK_128 = (1n << 128n) - 1n;

/** An output and the position after which it left. */
export interface PositionedOutput {
  readonly position: Position;
  readonly output: Output;
}

/** A disk chunk that the guest changed; `bytes` undefined: all zero. */
export interface DirtyBlock extends MissingBlock {
  readonly bytes: Uint8Array | undefined;
}

/** What a machine is made of when its state comes from elsewhere. */
export type RestoreConfig = Omit<MachineConfig, "boot">;

/** How fast the machine runs; nothing of it is visible to the guest. */
export interface MachineOptions {
  /** When code is translated; default: DEFAULT_POLICY. */
  readonly jit?: JitPolicy;
  /** How the interpreter gets from one instruction to the next; default: "table". */
  readonly dispatch?: Dispatch;
  /**
   * What the computer boots after a reset that the guest asks for. Without it `run` comes back
   * with `reset`, and the machine stays as it is.
   */
  readonly restart?: BootConfig;
}

/** A chunk of a disk that differs from the base; `zero`: it was discarded and has no content. */
export interface OverlayChunkName extends MissingBlock {
  readonly zero: boolean;
}

/** What the engine did so far. */
export interface EngineStatistics extends JitStatistics {
  /** Positions executed in translated code, and in all. */
  readonly translated: bigint;
  readonly positions: bigint;
  /** TLB entries filled for data and for fetches; times that everything was emptied. */
  readonly dataFills: bigint;
  readonly fetchFills: bigint;
  readonly flushesOfTlb: bigint;
  /** Instructions run alone: device accesses, writes to code and the like. */
  readonly steps: bigint;
  readonly traps: bigint;
}

/** Fields of the hart that a reset leaves alone: they are the trace's, not the guest's. */
const LASTING_FIELDS = [
  "position",
  "traps",
  "timeRate",
  "timeTicks",
  "timeFraction",
  "timePosition",
] as const;

type PowerState =
  | { readonly kind: "on" }
  | { readonly kind: "power-off"; readonly status: number }
  | { readonly kind: "reset" };

/** See the head of this file. */
export class Machine {
  readonly #core: HartCore;
  readonly #ram: Ram;
  readonly #slabPool = new SlabPool();
  readonly #digest: RamDigest;
  readonly #config: RestoreConfig;
  readonly #restart: BootConfig | undefined;
  /** The hart's state at power-on. */
  readonly #freshHart: State;
  #board: Board;
  #restarts = 0;
  #outputs: PositionedOutput[] = [];
  #missing: Missing | undefined;
  /** The run now going on ends after the next frame that leaves; and one has left. */
  #pauseAtFrame = false;
  #framePause = false;
  #power: PowerState = { kind: "on" };
  #breakpoints: ReadonlySet<bigint> = new Set();
  /** Where the machine stopped at a breakpoint: running again goes past it. */
  #stoppedAt: Position | undefined;

  private constructor(config: RestoreConfig, plan: BootPlan | undefined, options: MachineOptions) {
    this.#core = new HartCore(
      config.memoryBytes,
      {
        firstWrite: (page) => this.#ram.firstWrite(page),
        firstTouch: (page) => this.#ram.firstTouch(page),
        mmioRead: (address, size) => this.#mmioRead(address, size),
        mmioWrite: (address, size) => this.#mmioWrite(address, size),
        watch: (address, size, write) => this.#ram.noteAccess(address, size, write),
        htif: () => this.#pollHtif(),
        dropStaleCode: () => this.#ram.dropStaleCode(),
        atBreakpoint: () => this.#breakpoints.has(this.pc) && this.#stoppedAt !== this.position,
      },
      { policy: options.jit ?? DEFAULT_POLICY, dispatch: options.dispatch ?? "table" },
    );
    this.#ram = new Ram(this.#core);
    this.#digest = new RamDigest(this.#core, this.#ram);
    this.#config = config;
    this.#restart = options.restart;
    this.#board = this.#makeBoard(config, plan, undefined);
    this.#core.set64("timeRate", DEFAULT_RATE);
    this.#freshHart = saveHart(this.#core);
  }

  #makeBoard(config: RestoreConfig, plan: BootPlan | undefined, before: Board | undefined): Board {
    return new Board({
      config,
      rom: plan?.rom ?? new Uint8Array(0),
      htif: plan?.htif,
      core: this.#core,
      memory: this.#ram,
      sink: (output) => this.#takeOutput(output),
      power: (request) => this.#powerRequest(request),
      ...(before === undefined ? {} : { before }),
    });
  }

  /** Throws E_CONFIG_INVALID, E_KERNEL_*, E_ELF_*, E_INITRD_TOO_BIG, E_FIRMWARE_TOO_BIG. */
  static create(config: MachineConfig, options: MachineOptions = {}): Machine {
    const plan = planBoot(config);
    const machine = new Machine(config, plan, options);
    machine.#powerOn(plan);
    return machine;
  }

  /**
   * A machine in the state that `save` gave. All its RAM pages are absent: supply them, and then
   * `zeroAbsentPages`; its disk chunks are asked for as needed. Throws E_SNAPSHOT_INVALID.
   */
  static restore(config: RestoreConfig, state: State, options: MachineOptions = {}): Machine {
    const machine = new Machine(config, undefined, options);
    machine.restore(state);
    return machine;
  }

  #powerOn(plan: BootPlan): void {
    for (const { address, bytes } of plan.segments) this.#ram.load(address, bytes);
    const core = this.#core;
    core.set64("pc", BigInt.asUintN(64, plan.pc));
    core.setX(10, plan.registers.a0);
    core.setX(11, plan.registers.a1);
    core.setX(12, plan.registers.a2);
    if (plan.privilege === "s") this.#enterSupervisor();
    this.#startHtif();
    core.refresh();
  }

  /**
   * The guest asked for a reset: the same computer is switched on again, between two positions.
   * Position and virtual time go on, disks and the network cable stay, the next seed comes from
   * the generator; everything else is as at power-on. No input, so replay does the same.
   */
  #powerCycle(boot: BootConfig): void {
    const core = this.#core;
    this.#board.flushOutputs();
    const config = { ...this.#config, ...this.#board.nextPowerOn() };
    const plan = planBoot({ ...config, boot });
    const going = Object.fromEntries(LASTING_FIELDS.map((name) => [name, core.get64(name)]));
    this.#ram.clear();
    this.#board = this.#makeBoard(config, plan, this.#board);
    restoreHart(core, fields({ ...this.#freshHart, ...going }, "machine.hart"));
    this.#missing = undefined;
    this.#power = { kind: "on" };
    core.set32("stopRequest", 0);
    core.set64("idlePosition", NEVER);
    this.#powerOn(plan);
    this.#board.afterRestore();
    this.#restarts++;
  }

  #startHtif(): void {
    const { tohost } = this.#board;
    this.#core.set32("htif", tohost === undefined ? 0 : 1);
    if (tohost !== undefined) this.#ram.watchHtif(tohost);
  }

  /** The state in which firmware hands over to a kernel: what the built-in SBI has set up. */
  #enterSupervisor(): void {
    const core = this.#core;
    core.set32("mode", 1);
    core.set32("builtinSbi", 1);
    core.set64("medeleg", 0xb1ffn);
    core.set64("mideleg", 0x222n);
    core.set64("mcounteren", 7n);
    core.set64("scounteren", 7n);
    core.set64("menvcfg", (1n << 63n) | (1n << 61n) | (1n << 7n));
    core.set64("mstatus", MSTATUS.FS & (1n << 13n));
  }

  // ---- running

  get position(): Position {
    return position(this.#core.get64("position"));
  }

  /** Instructions retired since power-on: positions that were no traps. */
  get instructions(): bigint {
    return this.#core.get64("position") - this.#core.get64("traps");
  }

  /** Whether the computer is switched off, or stands where its guest asked for a reset. */
  get isOff(): boolean {
    return this.#power.kind !== "on";
  }

  /** Switches a computer on that is off, as its reset would; it was made with `restart`. */
  switchOn(): void {
    assert(this.isOff && this.#restart !== undefined, "the machine is off and can boot");
    this.#powerCycle(this.#restart);
  }

  /** Whether `switchOn` is possible. */
  get canBoot(): boolean {
    return this.#restart !== undefined;
  }

  /** How often this object has switched the computer on again. */
  get restarts(): number {
    return this.#restarts;
  }

  /** Wall time that the guest's clock shows, nanoseconds since 1970. */
  get wallTimeNs(): bigint {
    return this.#board.wallTimeNs;
  }

  /** Virtual time now, in ticks of 100 ns since power-on. */
  get ticks(): Ticks {
    return ticks(this.#board.ticks);
  }

  /** Where the execution stands; `run` to the position, then `passIdle`, comes back to it. */
  get place(): Place {
    const { position, ticks } = this;
    const core = this.#core;
    const idle = core.get32("waiting") === 1 || core.get64("idlePosition") === position;
    return { position, idleTicks: idle ? ticks : undefined };
  }

  /** Where the hart will execute next, unsigned. */
  get pc(): bigint {
    return this.#core.get64("pc");
  }

  /**
   * Runs until `until`, exactly, or until something is needed from outside. While the hart is
   * idle, virtual time may be skipped up to and including `skipIdleUntil`. `pauseAtFrame`: comes
   * back with `budget` as soon as a frame has left, so that nobody waits for it; the guest sees
   * nothing of that.
   */
  run(until: Position, skipIdleUntil: Ticks, pauseAtFrame = false): StopReason {
    const core = this.#core;
    core.set64("skipLimit", skipIdleUntil);
    this.#pauseAtFrame = pauseAtFrame;
    this.#framePause = false;
    for (;;) {
      if (this.#power.kind === "reset" && this.#restart !== undefined) {
        this.#powerCycle(this.#restart);
      }
      const stop = this.#powerStop() ?? this.#retryHtif() ?? this.#watchStop();
      if (stop !== undefined) return this.#stopped(stop);
      const left = until - this.position;
      if (left <= 0n) return this.#stopped({ kind: "budget" });
      core.jit.translatePending();
      core.exports.rebase_time();
      this.#board.updateDeadline();
      const code = core.exports.run(left > BigInt(MAX_SEGMENT) ? MAX_SEGMENT : Number(left));
      const reason = this.#exitReason(code);
      if (reason !== undefined) return this.#stopped(reason);
    }
  }

  /**
   * Virtual time goes on to `until` while the hart waits, and nothing executes. Ends early, at its
   * time, with what wakes the hart; a hart that does not wait stays as it is.
   */
  passIdle(until: Ticks): void {
    const core = this.#core;
    this.#settle();
    while (core.get32("waiting") === 1 && this.ticks < until) {
      const wake = BigInt.asUintN(64, core.exports.wake_time());
      this.#board.setTime(wake < until ? wake : until);
      this.#settle();
    }
  }

  /**
   * Does what the next `run` would do first, at the present place: a device's alarm rings, the
   * hart wakes. A state then tells nothing of how often it was looked at.
   */
  #settle(): void {
    const core = this.#core;
    this.#board.updateDeadline();
    if (this.ticks >= core.get64("deviceTimer")) this.#board.tick();
    if (core.get32("waiting") === 0) return;
    const awake = core.exports.pending(this.position) & core.get64("mie");
    if (awake !== 0n) core.set32("waiting", 0);
  }

  #stopped(reason: StopReason): StopReason {
    this.#pauseAtFrame = false;
    this.#board.flushOutputs();
    return reason;
  }

  #powerStop(): StopReason | undefined {
    return this.#power.kind === "on" ? undefined : this.#power;
  }

  /** What a return from generated code means; undefined: go on. */
  #exitReason(code: number): StopReason | undefined {
    const core = this.#core;
    switch (code) {
      case EXIT.budget:
        return undefined;
      case EXIT.idle: {
        const deadline = core.get64("idleDeadline");
        return { kind: "idle", deadline: deadline === NEVER ? undefined : ticks(deadline) };
      }
      case EXIT.missingPage:
        return { kind: "missing-page", pages: [core.get32("missing0")] };
      case EXIT.missingDevice:
        return this.#takeMissing();
      case EXIT.sbi:
        return this.#callSbi();
      case EXIT.deviceTimer:
        this.#board.tick();
        return undefined;
      case EXIT.stop:
        core.set32("stopRequest", 0);
        if (this.#missing !== undefined) return this.#takeMissing();
        return this.#framePause ? { kind: "budget" } : undefined;
      case EXIT.breakpoint:
        this.#stoppedAt = this.position;
        return { kind: "breakpoint", pc: this.pc };
      default:
        throw new AssertionError(`generated code returned ${code}`);
    }
  }

  #watchStop(): StopReason | undefined {
    const hit = this.#ram.takeWatchHit();
    return hit === undefined ? undefined : { kind: "watchpoint", ...hit };
  }

  #takeMissing(): StopReason {
    const missing = this.#missing;
    assert(missing !== undefined, "a stop for something missing names it");
    this.#missing = undefined;
    return shortage(missing);
  }

  // ---- devices and firmware

  #mmioRead(address: number, size: number): number {
    const result = this.#board.bus.read(address, size);
    if (result.kind === "access-fault") return MMIO.accessFault;
    assert(result.kind === "done", "reading a register needs nothing");
    this.#core.set64("mmioValue", result.value);
    this.#board.updateDeadline();
    return MMIO.done;
  }

  #mmioWrite(address: number, size: number): number {
    const result = this.#board.bus.write(address, size, this.#core.get64("mmioValue"));
    if (result.kind === "access-fault") return MMIO.accessFault;
    if (result.kind === "missing") {
      this.#missing = result.missing;
      return MMIO.missing;
    }
    this.#board.updateDeadline();
    return MMIO.done;
  }

  #powerRequest(request: Exclude<PowerState, { kind: "on" }>): void {
    this.#power = request;
    this.#core.set32("stopRequest", 1);
  }

  #callSbi(): StopReason | undefined {
    const core = this.#core;
    const args = [10, 11, 12, 13, 14, 15].map((i) => core.getX(i));
    const result = handleSbi(
      {
        extension: Number(BigInt.asUintN(32, core.getX(17))),
        function: Number(BigInt.asUintN(32, core.getX(16))),
        args,
      },
      this.#board.sbiHost,
    );
    if (result.kind === "missing") return shortage(result.missing);
    this.#finishSbi(result);
    core.set64("pc", BigInt.asUintN(64, this.pc + 4n));
    core.set64("position", this.position + 1n);
    return undefined;
  }

  #finishSbi(result: Exclude<SbiResult, { kind: "missing" }>): void {
    const core = this.#core;
    switch (result.kind) {
      case "return":
        core.setX(10, BigInt.asUintN(64, BigInt(result.error)));
        core.setX(11, BigInt.asUintN(64, result.value));
        return;
      case "legacy":
        core.setX(10, BigInt.asUintN(64, result.a0));
        return;
      case "wait":
        core.setX(10, 0n);
        core.setX(11, 0n);
        core.set32("waiting", 1);
        return;
      case "power-off":
      case "reset":
        this.#powerRequest(result);
        return;
      default:
        unreachable(result);
    }
  }

  /** After a store that may have written `tohost`. */
  #pollHtif(): void {
    const result = this.#board.pollHtif();
    if (result.kind === "exit") {
      this.#powerRequest({ kind: "power-off", status: result.status });
    } else if (result.kind === "missing") {
      this.#missing = result.missing;
      this.#core.set32("stopRequest", 1);
    }
  }

  /** A command in `tohost` that lacked pages is tried again before anything else happens. */
  #retryHtif(): StopReason | undefined {
    if (this.#core.get32("htif") === 0) return undefined;
    this.#pollHtif();
    return this.#missing === undefined ? this.#powerStop() : this.#takeMissing();
  }

  // ---- inputs and outputs

  #takeOutput(output: Output): void {
    this.#outputs.push({ position: this.position, output });
    if (output.kind !== "frame" || !this.#pauseAtFrame) return;
    this.#framePause = true;
    this.#core.set32("stopRequest", 1);
  }

  /**
   * Something from outside happens at the present position. For an idle machine `at` says when:
   * not before now, not after the deadline. With a `missing-...` answer nothing has happened.
   */
  input(event: InputEvent, at: Ticks = this.ticks): InputResult {
    const now = this.ticks;
    assert(at >= now, `input at ${at} lies before ${now}`);
    assert(at === now || this.#core.get32("waiting") === 1, "time passes only while idle");
    const missing = event.kind === "clock" ? undefined : this.#board.input(event);
    if (missing !== undefined) return shortage(missing);
    if (at > now) this.#board.setTime(at);
    if (event.kind === "clock") this.#setClock(event);
    this.#board.flushOutputs();
    return { kind: "accepted" };
  }

  #setClock({ rate, step }: Extract<InputEvent, { kind: "clock" }>): void {
    assert(rate >= 0n && rate <= MAX_RATE && step >= 0n, "clock event range");
    const core = this.#core;
    core.exports.rebase_time();
    core.set64("timeRate", rate);
    core.set64("timeTicks", core.get64("timeTicks") + step);
  }

  /** What left since the last call, in order. */
  takeOutputs(): readonly PositionedOutput[] {
    this.#board.flushOutputs();
    const outputs = this.#outputs;
    this.#outputs = [];
    return outputs;
  }

  /** How many bytes of input a console takes now; more than that is lost. */
  consoleRoom(port: ConsolePort): number {
    return this.#board.consoleRoom(port);
  }

  // ---- memory and disks

  /** RAM in pages of 4,096 bytes; page 0 is at RAM's start. */
  get pageCount(): number {
    return this.#ram.pageCount;
  }

  /** Dirty tracking, checkpoints, absent pages. */
  get ram(): Ram {
    return this.#ram;
  }

  /** A view of a page, valid until the machine runs. */
  readPage(page: number): Uint8Array {
    return this.#ram.page(page);
  }

  isZeroPage(page: number): boolean {
    return this.#ram.isZero(page);
  }

  /**
   * Guest physical address of what the hart would read at virtual `address` now; undefined where
   * it would fault or a page table is absent. Changes nothing.
   */
  translate(address: bigint): bigint | undefined {
    // As an instruction by itself: a walk is never put off then.
    this.#core.set32("stepping", 1);
    const found = this.#core.exports.walk(BigInt.asIntN(64, address), 0) === 1;
    this.#core.set32("stepping", 0);
    this.#core.set32("exit", 0);
    return found ? this.#core.get64("walkAddress") : undefined;
  }

  /** How many RAM pages are absent; while there are any, `digest` does not tell of all. */
  get absentPages(): number {
    return this.#ram.absentCount;
  }

  isAbsentPage(page: number): boolean {
    return this.#ram.isAbsent(page);
  }

  /** Gives an absent page its content; undefined: zeros. */
  supplyPage(page: number, bytes: Uint8Array | undefined): void {
    this.#ram.supply(page, bytes);
  }

  /** Every page that is still absent is zero. */
  zeroAbsentPages(): void {
    for (let page = 0; page < this.pageCount; page++) {
      if (this.#ram.isAbsent(page)) this.#ram.supply(page, undefined);
    }
  }

  /**
   * Begins a copy-on-write checkpoint of the present position; the machine may run on at once.
   * The caller takes the dirty blocks first: disk contents are not part of it.
   */
  checkpoint(options: { readonly maxSavedPages: number }): Checkpoint {
    return new Checkpoint({
      ram: this.#ram,
      position: this.position,
      state: this.save(),
      maxSavedPages: options.maxSavedPages,
      pool: this.#slabPool,
    });
  }

  /** Forgets every cached translation and all predecoded code. The guest cannot tell. */
  dropCaches(): void {
    this.#core.exports.flush_tlb();
    this.#core.code.dropAll();
  }

  /** Counters of the engine, for people; they are no part of the machine's state. */
  get statistics(): EngineStatistics {
    const core = this.#core;
    return {
      ...core.jit.statistics,
      translated: core.get64("statTranslated"),
      positions: this.position,
      dataFills: core.get64("statDataFills"),
      fetchFills: core.get64("statFetchFills"),
      flushesOfTlb: core.get64("statFlushes"),
      steps: core.get64("statSteps"),
      traps: core.get64("traps"),
    };
  }

  /** Accesses within these ranges stop the machine after they happened. */
  watch(ranges: readonly WatchRange[]): void {
    this.#ram.watch(ranges);
  }

  /**
   * The machine stops with `breakpoint` in front of an instruction that begins at one of these
   * virtual addresses, unsigned; running again executes it. They replace those set before. What
   * the guest sees is the same with breakpoints and without.
   */
  setBreakpoints(addresses: readonly bigint[]): void {
    for (const at of addresses) {
      assert(at >= 0n && at < 1n << 64n && at % 2n === 0n, `no instruction begins at ${at}`);
    }
    this.#breakpoints = new Set(addresses);
    this.#core.set32("breakpoints", addresses.length > 0 ? 1 : 0);
    this.#core.code.setBreakpoints(addresses.map((at) => Number(at % BigInt(PAGE_BYTES))));
  }

  /** Gives a disk chunk its content; the caller has taken the dirty blocks before. */
  supplyBlock(block: MissingBlock, bytes: Uint8Array): void {
    this.#board.disk(block.disk).supply(block.chunk, bytes);
  }

  /** Chunks changed since the last call. The taker must be able to supply them again. */
  takeDirtyBlocks(): readonly DirtyBlock[] {
    return this.#board.disks.flatMap((disk) =>
      disk.takeDirty().map((changed) => ({ disk: disk.index, ...changed })),
    );
  }

  /** Every chunk that differs from the disks' bases, ascending by disk and chunk. */
  overlayChunks(): readonly OverlayChunkName[] {
    return this.#board.disks.flatMap((disk) =>
      Array.from(disk.overlay(), ({ chunk, hash }) => {
        return { disk: disk.index, chunk, zero: hash === undefined };
      }),
    );
  }

  // ---- state

  /** Everything but RAM pages and the contents of disk chunks. */
  save(): State {
    this.#settle();
    return {
      version: STATE_VERSION,
      hart: saveHart(this.#core),
      board: this.#board.save(),
      power: this.#power.kind,
      status: this.#power.kind === "power-off" ? this.#power.status : 0,
    };
  }

  /** Takes saved state, on a fresh or a used machine; see the static `restore`. */
  restore(state: State): void {
    this.#ram.forgetAll();
    this.#digest.reset();
    this.#restoreAllButRam(state);
  }

  /**
   * Leaps to the saved state of a later moment, of which RAM is brought about by `pages`: those
   * that differ, undefined for zeros. Pages not named keep content or absence. Chunks of disks are
   * asked for anew.
   */
  leap(state: State, pages: Iterable<readonly [number, Uint8Array | undefined]>): void {
    for (const [page, bytes] of pages) this.#ram.replace(page, bytes);
    this.#restoreAllButRam(state);
  }

  #restoreAllButRam(state: State): void {
    const reader = fields(state, "machine");
    reader.integer("version", { min: STATE_VERSION, max: STATE_VERSION });
    const power = reader.oneOf("power", ["on", "power-off", "reset"]);
    const status = reader.integer("status", { min: 0, max: power === "power-off" ? 2 ** 48 : 0 });
    this.#outputs = [];
    this.#missing = undefined;
    this.#stoppedAt = undefined;
    this.#board.restore(reader.record("board"));
    restoreHart(this.#core, reader.record("hart"));
    reader.end();
    this.#board.afterRestore();
    this.#power = power === "power-off" ? { kind: power, status } : { kind: power };
    this.#core.set32("stopRequest", 0);
    this.#core.set64("idlePosition", NEVER);
    this.#startHtif();
  }

  /** A 128-bit hash of each RAM page: its low half at [2 * page], its high half behind it. */
  pageDigests(): BigUint64Array {
    return this.#digest.parts();
  }

  /**
   * Does part of what the next digest must do, over at most `maxPages` pages. True: what is left
   * is only what is written from the first such call on.
   */
  prepareDigest(maxPages: number): boolean {
    return this.#digest.prepare(maxPages);
  }

  /**
   * Hash of the complete state, 32 hex digits; equal for equal machines, whatever their past.
   * Means nothing while a page is absent. Costs what was written since the last one.
   */
  digest(): string {
    this.#board.flushOutputs();
    const state = this.#core.hashBytes(encodeState(this.save()), 1);
    const sum = state * 3n + this.#digest.value() + this.#board.overlayDigest() * 5n;
    return (sum & MASK_128).toString(16).padStart(32, "0");
  }
}

function shortage({ pages, blocks }: Missing): StopReason & InputResult {
  if (pages.length > 0) return { kind: "missing-page", pages };
  if (blocks.length > 0) return { kind: "missing-block", blocks };
  throw new AssertionError("a device stopped for want of nothing");
}
