import { encodeFrame, type Message } from "@dejavm/protocol";
import type { VmReport } from "@dejavm/vm";
import { describe, expect, test } from "vitest";
import { SourceSession } from "./source-session.ts";
import {
  SOURCE_TRANSITIONS,
  type SourceAction,
  type SourceEvent,
  type SourceOptions,
  type SourceProgress,
  type SourceState,
} from "./source-types.ts";
import { begun as begunWith, LINK, POINT } from "./test-support/seen.ts";

const CHAIN = new Uint8Array(32);
const DIGEST = "0".repeat(32);
const REASON = { code: "E_TEST", message: "a test" };
const begun = (id: number): VmReport => begunWith(id, Uint32Array.of(1, 2));

const FROZEN: VmReport = {
  kind: "frozen",
  id: 1,
  digest: DIGEST,
  guestWallNs: 0n,
  trace: POINT,
  waiting: [{ kind: "console", port: "uart", bytes: Uint8Array.of(1) }],
  position: 100n,
  ticks: 100n,
};

type Progress = Extract<Message, { kind: "target-progress" }>;
const PROGRESS: Progress = {
  kind: "target-progress",
  position: 100n,
  ticks: 100n,
  frontier: 100n,
  cpuMs: 1,
  waitingMs: 1,
  durableSequence: 3,
  durableCheckpoint: 0,
  completeCheckpoint: 0,
  digestsMatched: 1,
  matchedPosition: 50n,
};

const LIVE: Message = {
  kind: "live",
  epoch: 2,
  replayedMs: 1,
  comparedMs: 1,
  durableMs: 1,
  runningMs: 1,
};

const message = (m: Message): SourceEvent => ({ kind: "message", message: m });
const vm = (report: VmReport): SourceEvent => ({ kind: "vm", report });
const TICK: SourceEvent = { kind: "tick", link: LINK };
const PREPARED: SourceEvent = {
  kind: "prepared",
  batch: { id: 0, messages: [], zeroPages: 2, referenced: 0 },
};

/** One event of every kind and every message that a target may send. */
const EVENTS: readonly SourceEvent[] = [
  TICK,
  PREPARED,
  { kind: "link-up" },
  { kind: "link-down" },
  { kind: "link-lost", reason: REASON },
  { kind: "cancel", reason: REASON },
  { kind: "settle", live: "here" },
  { kind: "settle", live: "there" },
  { kind: "recorded", wish: { state: "offering", epoch: 2 } },
  { kind: "recorded", wish: { state: "live", epoch: 3 } },
  { kind: "recorded", wish: { state: "moved", epoch: 2 } },
  { kind: "record-failed", wish: { state: "moved", epoch: 2 }, reason: REASON },
  vm(begun(1)),
  vm({ kind: "digest", id: 2 ** 40 + 2, digest: DIGEST, position: 90n, ticks: 90n }),
  vm(FROZEN),
  vm({ kind: "late-input", event: { kind: "power-button" } }),
  vm({ kind: "checkpoint-abandoned", id: 0 }),
  vm({ kind: "failed", error: { code: undefined, message: "gone", hint: undefined } }),
  message({
    kind: "accept",
    migration: "m",
    hasBase: [],
    checkpoints: [],
    freeMemoryBytes: 0,
    freeDiskBytes: 0,
  }),
  message(PROGRESS),
  message({ kind: "want", checkpoint: 0, pages: [1, 9], chunks: [[0, 1]] }),
  message({ kind: "unknown-reference", checkpoint: 0, pages: [1], chunks: [] }),
  message({ kind: "leapfrog", checkpoint: 1, taken: true, position: 1n }),
  message({ kind: "refused", phase: "x", reason: { code: "E_TEST", message: "no" } }),
  message({ kind: "cancel", phase: "x", reason: { code: "E_TEST", message: "no" } }),
  message(LIVE),
  message({ kind: "owner", lineage: "lineage", epoch: 2, state: "not-here" }),
  message({ kind: "owner", lineage: "lineage", epoch: 2, state: "live-here" }),
  // What only a source may say.
  message({ kind: "moved", epoch: 2 }),
  message({ kind: "segment", bytes: Uint8Array.of(1) }),
];

const OPTIONS: SourceOptions = {
  offer: {
    kind: "offer",
    migration: "m",
    lineage: "lineage",
    name: "vm",
    epoch: 1,
    semantics: 1,
    pageCount: 64,
    disks: [],
    fingerprint: CHAIN,
    description: CHAIN,
    maxDowntimeMs: 100,
  },
  peer: "peer",
  negotiateMs: 1000,
  frontierMs: 5,
  maxSavedPages: 10,
  maxDowntimeMs: 100,
  minShare: 0.5,
  ifNotConverging: "slow",
};

class Driver {
  now = 0;
  readonly actions: SourceAction[] = [];
  readonly session: SourceSession;

  constructor(more: { readonly rehearseMs?: number } = {}) {
    this.session = new SourceSession({ ...OPTIONS, ...more }, 0);
  }

  tell(...events: SourceEvent[]): this {
    for (const event of events) {
      this.now += 30;
      this.session.handle(event, this.now);
      for (let a = this.session.poll(); a !== undefined; a = this.session.poll()) {
        this.actions.push(a);
        // Whatever is sent can be sent.
        if (a.kind === "send") encodeFrame({ kind: "message", sequence: 0, message: a.message });
      }
    }
    return this;
  }

  sent(kind: Message["kind"]): boolean {
    return this.actions.some((a) => a.kind === "send" && a.message.kind === kind);
  }

  asked(kind: string): boolean {
    return this.actions.some((a) => a.kind === "vm" && a.request.kind === kind);
  }
}

const ACCEPT = EVENTS.find((e) => e.kind === "message" && e.message.kind === "accept") ?? TICK;
const RECORDED: SourceEvent = { kind: "recorded", wish: { state: "offering", epoch: 2 } };
const TO_MOVING = [ACCEPT, vm(begun(0)), TICK, PREPARED];
const TO_OFFERING = [...TO_MOVING, message(PROGRESS), TICK];
/** The second digest that it asks for: the first was asked for while it moved. */
const DIGESTED = vm({ kind: "digest", id: 2 ** 40 + 2, digest: DIGEST, position: 90n, ticks: 90n });
const TO_FREEZING = [...TO_OFFERING, RECORDED, DIGESTED];
const TO_COMMITTED = [...TO_FREEZING, vm(FROZEN)];

/** How each state is reached. */
const WAYS: Readonly<Record<Exclude<SourceState["kind"], "copying">, readonly SourceEvent[]>> = {
  negotiating: [],
  moving: TO_MOVING,
  offering: TO_OFFERING,
  freezing: TO_FREEZING,
  committed: TO_COMMITTED,
  asking: [...TO_COMMITTED, { kind: "link-lost", reason: REASON }],
  "handing-over": [...TO_COMMITTED, message(LIVE)],
  retracting: [...TO_OFFERING, { kind: "cancel", reason: REASON }],
  ended: [{ kind: "cancel", reason: REASON }],
};

test("what the path waits for is compressed little, what waits for the path more", () => {
  for (const isStarved of [true, false]) {
    const tick: SourceEvent = { kind: "tick", link: { ...LINK, isStarved } };
    const { actions } = new Driver().tell(ACCEPT, tick, vm(begun(0)));
    const reads = actions.filter((action) => action.kind === "read");
    expect(reads.map(({ isFast }) => isFast)).toEqual([isStarved]);
  }
});

describe("every state and every event", () => {
  for (const [state, way] of Object.entries(WAYS)) {
    test(`[SO1] ${state}`, () => {
      for (const event of EVENTS) {
        const driver = new Driver().tell(...way);
        expect(driver.session.state.kind).toBe(state);
        const before = driver.session.state.kind;
        driver.tell(event);
        const after = driver.session.state.kind;
        // A failure may pass through `retracting` at once, never through anything illegal.
        if (after !== before) expect(reachable(before)).toContain(after);
        if (["committed", "asking", "handing-over"].includes(before) && after === "ended") {
          expect(before === "handing-over" && event.kind === "recorded").toBe(true);
        }
      }
    });
  }
});

function reachable(from: SourceState["kind"]): Set<string> {
  const found = new Set<SourceState["kind"]>();
  const queue = [...SOURCE_TRANSITIONS[from]];
  for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
    if (found.has(next)) continue;
    found.add(next);
    queue.push(...SOURCE_TRANSITIONS[next]);
  }
  return found;
}

describe("ownership", () => {
  test("[SO2] the offer is durable before the machine is asked to stand still", () => {
    const driver = new Driver().tell(...TO_OFFERING);
    expect(driver.asked("freeze")).toBe(false);
    driver.tell(RECORDED);
    expect(driver.asked("freeze")).toBe(false);
    driver.tell(DIGESTED);
    expect(driver.asked("freeze")).toBe(true);
    expect(driver.sent("commit")).toBe(false);
    driver.tell(vm(FROZEN));
    expect(driver.sent("commit")).toBe(true);
    expect(driver.sent("late-input")).toBe(true);
  });

  test("[SO3] before the commitment a cancel lets the machine run on here", () => {
    for (const way of [WAYS.negotiating, WAYS.moving]) {
      const driver = new Driver().tell(...way, { kind: "cancel", reason: REASON });
      expect(driver.session.state.kind).toBe("ended");
      expect(driver.sent("cancel")).toBe(true);
    }
    const driver = new Driver().tell(...WAYS.freezing, { kind: "cancel", reason: REASON });
    expect(driver.asked("unfreeze")).toBe(false);
    driver.tell({ kind: "recorded", wish: { state: "live", epoch: 3 } });
    expect(driver.asked("unfreeze")).toBe(true);
    expect(driver.session.state.kind).toBe("ended");
  });

  test("[SO4] after the commitment nothing but the answer or a person lets this side go on", () => {
    const driver = new Driver().tell(...TO_COMMITTED);
    driver.tell(
      { kind: "cancel", reason: REASON },
      { kind: "link-lost", reason: REASON },
      { kind: "link-lost", reason: REASON },
      message({ kind: "moved", epoch: 2 }),
      message({ ...LIVE, epoch: 7 }),
      TICK,
    );
    expect(driver.session.isCommitted).toBe(true);
    expect(driver.asked("unfreeze")).toBe(false);
    driver.tell(message({ kind: "refused", phase: "x", reason: { code: "E_TEST", message: "" } }));
    expect(driver.session.state.kind).toBe("retracting");
    expect(driver.asked("unfreeze")).toBe(false);
    driver.tell({ kind: "recorded", wish: { state: "live", epoch: 3 } });
    expect(driver.asked("unfreeze")).toBe(true);
  });

  test("[SO5] a target that claims to be complete before all was sent is not believed", () => {
    const driver = new Driver().tell(ACCEPT, vm(begun(0)), TICK, message(PROGRESS), TICK, TICK);
    expect(driver.session.state.kind).toBe("moving");
    driver.tell(PREPARED, TICK);
    expect(driver.session.state.kind).toBe("offering");
  });
});

describe("a rehearsal", () => {
  const outcome = ({ session }: Driver): unknown =>
    session.state.kind === "ended" ? session.state.outcome : session.state.kind;

  test("[MI8] ends where the machine would be handed over, which runs on", () => {
    const driver = new Driver({ rehearseMs: 10_000 }).tell(...TO_OFFERING);
    expect(outcome(driver)).toMatchObject({ kind: "rehearsed", prediction: { converges: true } });
    expect(driver.sent("cancel")).toBe(true);
    expect(driver.actions.some(({ kind }) => kind === "record")).toBe(false);
    expect(driver.asked("freeze")).toBe(false);
  });

  test("[MI8] ends when its time is over, whatever the target says or does not say", () => {
    const driver = new Driver({ rehearseMs: 300 }).tell(ACCEPT, vm(begun(0)));
    while (driver.now < 270) driver.tell(TICK);
    expect(outcome(driver)).toBe("moving");
    driver.tell(TICK);
    expect(outcome(driver)).toMatchObject({ kind: "rehearsed", prediction: { converges: false } });
  });
});

describe("what people are shown", () => {
  /** Of a source at 2,000,000; the target says each 60 ms what `told` makes of 1, 2, ... 20. */
  const shown = (told: (i: number) => Partial<Progress>): SourceProgress | undefined => {
    const driver = new Driver().tell(...TO_MOVING);
    const machine = {
      mode: "live",
      cpuMs: 0,
      runMs: 0,
      savedPages: 0,
      changed: undefined,
    } as const;
    driver.tell(vm({ kind: "progress", ...machine, position: 2_000_000n, ticks: 0n }));
    for (let i = 1; i <= 20; i++) {
      driver.tell(message({ ...PROGRESS, digestsMatched: 0, ...told(i) }), TICK);
    }
    const last = driver.actions.findLast((a) => a.kind === "progress");
    return last?.kind === "progress" ? last.progress : undefined;
  };
  const nothingYet = { completeCheckpoint: undefined, durableCheckpoint: undefined };

  test("lag is told by a replay's own speed, not while it waits for its first pages", () => {
    const steady = (i: number) => ({ position: BigInt(i) * 60_000n, waitingMs: 0 });
    const waiting = (i: number) => ({ position: BigInt(i) * 60n, waitingMs: 54 * i });
    const lagMs = shown((i) => ({ ...nothingYet, ...steady(i) }))?.lagMs;
    // 1000 positions per ms, and shown at most 200 ms ago.
    expect(lagMs).toBeGreaterThanOrEqual(799);
    expect(lagMs).toBeLessThan(1001);
    expect(shown((i) => ({ ...nothingYet, ...waiting(i) }))?.lagMs).toBeUndefined();
    expect(shown(waiting)?.lagMs).toBeGreaterThan(10_000);
  });

  test("the pause is told once no pages are under way", () => {
    const position = { position: 1_990_000n, waitingMs: 0 };
    expect(shown(() => ({ ...nothingYet, ...position }))?.predictedDowntimeMs).toBeUndefined();
    expect(shown(() => position)?.predictedDowntimeMs).toBeGreaterThan(0);
  });
});

describe("a target that means harm", () => {
  const ending = ({ session }: Driver): string | undefined =>
    session.state.kind === "ended" && session.state.outcome.kind === "stayed"
      ? session.state.outcome.code
      : undefined;
  const moving = (): Driver => new Driver().tell(...TO_MOVING);
  const progress = (changes: Partial<Progress>): SourceEvent =>
    message({ ...PROGRESS, digestsMatched: 0, ...changes });

  test.each([
    ["a position ahead of the source", progress({ position: 101n })],
    ["a frontier that was never sent", progress({ frontier: 101n })],
    ["a complete checkpoint that was never begun", progress({ completeCheckpoint: 1 })],
    ["a durable one", progress({ durableCheckpoint: 1 })],
    ["a leap to it", message({ kind: "leapfrog", checkpoint: 1, taken: true, position: 1n })],
  ])("[SO7] cannot have %s", (_, lie) => {
    expect(ending(moving().tell(progress({}), TICK))).toBeUndefined();
    const driver = moving().tell(lie);
    expect(ending(driver)).toBe("E_PROTOCOL_STATE");
    expect(driver.sent("cancel")).toBe(true);
    expect(driver.asked("freeze")).toBe(false);
  });

  test("[SO7] the largest inventory is that of the largest machine", () => {
    const inventory = message({ kind: "inventory", prefixes: new Uint8Array(8) });
    const driver = moving();
    for (let n = 0; n < 16; n++) driver.tell(inventory);
    expect(ending(driver)).toBeUndefined();
    expect(ending(driver.tell(inventory))).toBe("E_PROTOCOL_STATE");
  });

  test("[SO8] a target that says the same for ever is given up as one that is silent", () => {
    const driver = moving();
    while (driver.now < 29_000) driver.tell(progress({}), TICK);
    expect(ending(driver)).toBeUndefined();
    driver.tell(progress({ durableSequence: 4 }));
    while (driver.now < 58_000) driver.tell(progress({ durableSequence: 4 }), TICK);
    expect(ending(driver)).toBeUndefined();
    while (driver.now < 60_000) driver.tell(progress({ durableSequence: 4 }), TICK);
    expect(ending(driver)).toBe("E_PEER_SILENT");
  });

  test("[SO8] a target that has nothing to tell but takes contents is not silent", () => {
    const driver = moving();
    const takes = (bulkUnderWayBytes: number): SourceEvent => {
      return { kind: "tick", link: { ...LINK, bulkUnderWayBytes } };
    };
    for (let n = 0; driver.now < 70_000; n++) driver.tell(takes(n % 2));
    expect(ending(driver)).toBeUndefined();
    const since = driver.now;
    while (driver.now < since + 31_000) driver.tell(takes(1));
    expect(ending(driver)).toBe("E_PEER_SILENT");
  });

  test("[SO8] a target is asked for its answer only as long as there is a link", () => {
    const apart: SourceEvent = { kind: "tick", link: { ...LINK, isUp: false } };
    const driver = new Driver();
    while (driver.now < 60_000) driver.tell(apart);
    expect(ending(driver)).toBeUndefined();
    while (driver.now < 60_960) driver.tell(TICK);
    expect(ending(driver)).toBeUndefined();
    expect(ending(driver.tell(TICK, TICK))).toBe("E_PEER_SILENT");
  });

  test("[SO8] frames that come while the machine stands are kept up to 16 MiB", () => {
    const driver = new Driver().tell(...TO_FREEZING);
    const frame = vm({
      kind: "late-input",
      event: { kind: "frame", bytes: new Uint8Array(65_536) },
    });
    for (let n = 0; n < 256; n++) driver.tell(frame);
    driver.tell(frame, frame, vm(FROZEN));
    const sent = driver.actions.filter((a) => a.kind === "send" && a.message.kind === "late-input");
    expect(sent.length).toBe(256 + 1);
  });
});
