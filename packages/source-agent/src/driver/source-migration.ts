/**
 * One migration away from here: the session with a real link, a real machine and real records.
 * Whoever owns the machine passes all of its reports to `handleReport`.
 */
import { assert, CodedError } from "@dejavm/base";
import {
  DEFAULT_LINK_TIMES,
  type Dial,
  LinkDriver,
  type LinkHandlers,
  type Message,
  PROTOCOL_VERSIONS,
  type Reason,
  reasonOf,
} from "@dejavm/protocol";
import type { VmReport, VmRequest } from "@dejavm/vm";
import type { MigrationReport } from "../migration-report.ts";
import { SourceSession } from "../source-session.ts";
import {
  type OwnershipWish,
  type SourceAction,
  type SourceEvent,
  type SourceOptions,
  type SourceProgress,
} from "../source-types.ts";
import { MovePacker } from "./packer/move-packer.ts";
import { PageReader } from "./page-reader.ts";

/** The session looks at the link and the clock at least this often. */
const TICK_MS = 5;
const IDLE_TICK_MS = 2;
/** Checkpoints of a migration have numbers of their own in the machine's thread. */
const FIRST_CHECKPOINT_ID = 2 ** 32;

/** What `startSourceMigration` needs. */
export interface SourceMigrationOptions {
  readonly session: SourceOptions;
  /** The machine: live, recording, told nothing else about checkpoints with such numbers. */
  readonly request: (request: VmRequest) => void;
  /**
   * Makes the record durable before it returns or resolves; throws if it is not. It is not called
   * again before.
   */
  readonly record: (wish: OwnershipWish) => void | Promise<void>;
  readonly dial: Dial;
  /** This agent's name, for the peer's people. */
  readonly agent: string;
  /** Unique, chosen at random: names the link. */
  readonly linkName: () => string;
  /** Bulk bytes per millisecond at most; default: no limit. */
  readonly maxBytesPerMs?: number;
  /**
   * Files that the machine began with, as `image-refs` counts them: pages equal to a block of one
   * are not sent to a target that has them. Empty names are no files.
   */
  readonly bases?: readonly string[];
  readonly onProgress?: (progress: SourceProgress) => void;
  /** Longest time without link before the commitment, milliseconds. */
  readonly giveUpAfterMs?: number;
}

/** A migration under way. */
export interface SourceMigration {
  /** Every report of the machine, in order. */
  handleReport(report: VmReport): void;
  /** Throws E_COMMITTED once the target may own the machine. */
  cancel(reason: Reason): void;
  /** A person decides what cannot be asked; only while in doubt. */
  settle(live: "here" | "there"): void;
  readonly isCommitted: boolean;
  /** The target may have it, and cannot be heard. */
  readonly isInDoubt: boolean;
  /** Always resolves: with the report. */
  readonly done: Promise<MigrationReport>;
}

/** Begins to move a machine. */
export function startSourceMigration(options: SourceMigrationOptions): SourceMigration {
  return new Migration(options);
}

class Migration implements SourceMigration {
  readonly #options: SourceMigrationOptions;
  readonly #session: SourceSession;
  readonly #done = Promise.withResolvers<MigrationReport>();
  readonly #timer: NodeJS.Timeout;
  readonly #reader: PageReader;
  #link: LinkDriver;
  #packer: MovePacker | undefined;
  /** Records are made one after the other: the last one is what holds. */
  #recording = Promise.resolve();
  #tickedAt = 0;
  #isDraining = false;
  #isOver = false;

  constructor(options: SourceMigrationOptions) {
    this.#options = options;
    this.#session = new SourceSession(options.session, performance.now());
    this.#reader = new PageReader({
      request: (request) => options.request(shifted(request)),
      packer: () => {
        assert(this.#packer !== undefined, "nothing is read before the target has accepted");
        return this.#packer;
      },
      done: (batch) => this.#handle({ kind: "prepared", batch }),
      failed: (error) => this.#failed(error),
    });
    this.#link = this.#makeLink();
    this.#timer = setInterval(() => this.#tick(), TICK_MS);
    this.#drain();
  }

  get done(): Promise<MigrationReport> {
    return this.#done.promise;
  }

  get isCommitted(): boolean {
    return this.#session.isCommitted;
  }

  get isInDoubt(): boolean {
    const { kind } = this.#session.state;
    return kind === "asking" || (kind === "committed" && !this.#link.state.isUp);
  }

  handleReport(report: VmReport): void {
    if (this.#isOver) return;
    const own = ownReport(report);
    if (own === undefined) return;
    if (own.kind === "pages" || own.kind === "chunks") return this.#reader.answer(own);
    this.#handle({ kind: "vm", report: own });
  }

  cancel(reason: Reason): void {
    if (this.isCommitted) {
      throw new CodedError("E_COMMITTED", "cannot cancel: the target has the commitment already", {
        hint: "wait for its answer; `dejavm settle` where it cannot be reached any more",
      });
    }
    this.#handle({ kind: "cancel", reason });
  }

  settle(live: "here" | "there"): void {
    this.#handle({ kind: "settle", live });
  }

  #makeLink(): LinkDriver {
    const { agent, dial, linkName, maxBytesPerMs, giveUpAfterMs } = this.#options;
    const handlers: LinkHandlers = {
      onMessage: (message) => this.#message(message),
      onUp: () => this.#handle({ kind: "link-up" }),
      onDown: () => this.#handle({ kind: "link-down" }),
      onLost: ({ code, message, hint }) =>
        this.#handle({ kind: "link-lost", reason: { code, message, hint } }),
      onIdle: () => this.#idle(),
    };
    const times = { ...DEFAULT_LINK_TIMES, ...(giveUpAfterMs && { giveUpAfterMs }) };
    return new LinkDriver(
      {
        link: linkName(),
        agent,
        capabilities: [],
        versions: PROTOCOL_VERSIONS,
        bulkChannels: 1,
        maxBytesPerMs: maxBytesPerMs ?? Number.POSITIVE_INFINITY,
        times,
      },
      dial,
      handlers,
    );
  }

  #message(message: Message): void {
    if (message.kind === "accept" && this.#packer === undefined) {
      const { bases = [] } = this.#options;
      this.#packer = new MovePacker(message.hasBase.every(Boolean) ? bases : []);
    }
    if (message.kind === "inventory") this.#packer?.addInventory(message.prefixes);
    this.#handle({ kind: "message", message });
  }

  /** Pages cannot be read or packed: it goes on here. */
  #failed(error: unknown): void {
    const message = `cannot pack what is to be sent: ${String(error)}`;
    const hint = "look at the agent's log";
    this.#handle({ kind: "cancel", reason: { code: "E_INTERNAL", message, hint } });
  }

  /** After everything that the link did, but not for each of its messages. */
  #idle(): void {
    if (performance.now() - this.#tickedAt >= IDLE_TICK_MS) this.#tick();
  }

  #tick(): void {
    this.#tickedAt = performance.now();
    if (!this.#isOver) this.#handle({ kind: "tick", link: this.#link.state });
  }

  #handle(event: SourceEvent): void {
    if (this.#isOver) return;
    this.#session.handle(event, performance.now());
    this.#drain();
  }

  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    for (let next = this.#session.poll(); next !== undefined; next = this.#session.poll()) {
      this.#act(next);
    }
    this.#isDraining = false;
  }

  #act(action: SourceAction): void {
    switch (action.kind) {
      case "vm":
        if (action.request.kind === "close-checkpoint" && this.#packer !== undefined) {
          this.#reader.forget(action.request.id);
        }
        return this.#options.request(shifted(action.request));
      case "send":
        return this.#link.send(action.message);
      case "send-bulk":
        return this.#link.sendBulk(action.message);
      case "read":
        return this.#reader.read(action);
      case "record":
        this.#recording = this.#recording.then(() => this.#record(action.wish));
        return;
      case "hold-link":
        return this.#link.neverGiveUp();
      case "new-link":
        return this.#askOwner();
      case "progress":
        return this.#options.onProgress?.(action.progress);
      case "finished":
        return this.#finish(action.report);
    }
  }

  async #record(wish: OwnershipWish): Promise<void> {
    try {
      await this.#options.record(wish);
      this.#handle({ kind: "recorded", wish });
    } catch (error) {
      const reason = reasonOf(error, "E_STORE_IO");
      // A full disk may have room again; asking at once would only burn CPU.
      setTimeout(() => {
        this.#handle({ kind: "record-failed", wish, reason });
      }, 200);
    }
  }

  #askOwner(): void {
    this.#link.close("asked again over another link");
    this.#link = this.#makeLink();
    this.#link.neverGiveUp();
    const { migration, lineage, epoch } = this.#options.session.offer;
    this.#link.send({ kind: "ask-owner", migration, lineage, epoch: epoch + 1 });
  }

  /** The last message is to arrive: the link ends once it is quiet. */
  #finish(report: MigrationReport): void {
    this.#isOver = true;
    clearInterval(this.#timer);
    this.#packer?.close();
    const startedAt = performance.now();
    const closing = setInterval(() => {
      const isQuiet = this.#link.state.isQuiet || performance.now() - startedAt > 5000;
      if (!isQuiet) return;
      clearInterval(closing);
      this.#link.close();
    }, TICK_MS);
    this.#done.resolve(report);
  }
}

/** With the numbers that the machine's thread knows. */
function shifted(request: VmRequest): VmRequest {
  switch (request.kind) {
    case "checkpoint": {
      const since = request.since === undefined ? undefined : request.since + FIRST_CHECKPOINT_ID;
      return { ...request, id: request.id + FIRST_CHECKPOINT_ID, since };
    }
    case "read-pages":
    case "read-chunks":
    case "close-checkpoint":
      return { ...request, id: request.id + FIRST_CHECKPOINT_ID };
    default:
      return request;
  }
}

/** With our numbers; undefined: it is about somebody else's checkpoint. */
function ownReport(report: VmReport): VmReport | undefined {
  switch (report.kind) {
    case "checkpoint-begun":
    case "checkpoint-abandoned":
    case "pages":
    case "chunks":
    case "touched": {
      const id = report.id - FIRST_CHECKPOINT_ID;
      return id < 0 ? undefined : { ...report, id };
    }
    case "progress": {
      const since = (report.changed?.since ?? 0) - FIRST_CHECKPOINT_ID;
      return since < 0 || report.changed === undefined
        ? { ...report, changed: undefined }
        : { ...report, changed: { ...report.changed, since } };
    }
    default:
      return report;
  }
}
