/**
 * A migration that sends files only where the peer lacks some: it begins at once, and where the
 * peer refuses because of them it gets them and is asked again. To find out first would cost every
 * migration several round trips.
 */
import type { Reason } from "@dejavm/protocol";
import type { MigrationReport, SourceMigration } from "@dejavm/source-agent";
import type { VmReport } from "@dejavm/vm";

/** What a peer says that lacks a disk's base, or has others of the files that were booted. */
const LACKS_FILES: readonly string[] = ["E_DISK_ABSENT", "E_FILE_NOT_FOUND", "E_TRACE_CONFIG"];

/** How it begins, and how the peer gets the files. */
export interface FilesOnDemandOptions {
  readonly start: () => SourceMigration;
  /** Rejects where they cannot be sent, and when it is aborted. */
  readonly provide: () => Promise<void>;
}

/** See the head of this file. */
export class FilesOnDemand implements SourceMigration {
  readonly done: Promise<MigrationReport>;
  readonly #options: FilesOnDemandOptions;
  #migration: SourceMigration;
  #isProviding = false;

  constructor(options: FilesOnDemandOptions) {
    this.#options = options;
    this.#migration = options.start();
    this.done = this.#finish();
  }

  /** Whether files are being sent, and no session is under way. */
  get isProviding(): boolean {
    return this.#isProviding;
  }

  get isCommitted(): boolean {
    return this.#migration.isCommitted;
  }

  get isInDoubt(): boolean {
    return this.#migration.isInDoubt;
  }

  handleReport(report: VmReport): void {
    this.#migration.handleReport(report);
  }

  /** While files are sent, whoever aborts `provide` has cancelled it. */
  cancel(reason: Reason): void {
    this.#migration.cancel(reason);
  }

  settle(live: "here" | "there"): void {
    this.#migration.settle(live);
  }

  async #finish(): Promise<MigrationReport> {
    const first = await this.#migration.done;
    if (!lacksFiles(first)) return first;
    this.#isProviding = true;
    await this.#options.provide();
    this.#isProviding = false;
    this.#migration = this.#options.start();
    return this.#migration.done;
  }
}

function lacksFiles({ outcome }: MigrationReport): boolean {
  return (
    outcome.kind === "stayed" && outcome.phase === "negotiate" && LACKS_FILES.includes(outcome.code)
  );
}
