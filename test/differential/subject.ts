/** What a test program runs on. */

export interface RunResult {
  /** `exit`: the program reached its end. Otherwise `ram` is what there was when it was stopped. */
  readonly stop: "exit" | "timeout" | "other";
  /** What `stop` alone does not say. */
  readonly detail: string;
  /** The test region. */
  readonly ram: Uint8Array;
}

export interface Subject {
  readonly name: string;
  /** Runs `image` (REGION_BYTES long, at REGION_BASE) on a hart just reset. */
  run(image: Uint8Array): Promise<RunResult>;
  close(): Promise<void>;
}
