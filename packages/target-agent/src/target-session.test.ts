import { encodeFrame, encodePageSet, type Message } from "@dejavm/protocol";
import type { VmReport } from "@dejavm/vm";
import { describe, expect, test } from "vitest";
import { TargetSession } from "./target-session.ts";
import {
  TARGET_TRANSITIONS,
  type TargetAction,
  type TargetEvent,
  type TargetState,
} from "./target-types.ts";

const CHAIN = new Uint8Array(32);
const POINT = { sequence: 3, position: 100n, ticks: 100n, chain: CHAIN };
/** As much as the session may hold. */
const MAX_HELD_BYTES = 1000;
const DIGEST = "0".repeat(32);
const REASON = { code: "E_TEST", message: "a test" };

const OFFER: Extract<Message, { kind: "offer" }> = {
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
};

function checkpoint(number: number, pages: readonly number[]): Message {
  return {
    kind: "checkpoint",
    checkpoint: number,
    position: 100n,
    ticks: 100n,
    trace: POINT,
    state: CHAIN,
    pages: encodePageSet(pages),
    chunks: [],
    more: false,
  };
}

const GROUP: Extract<Message, { kind: "page-group" }> = {
  kind: "page-group",
  checkpoint: 0,
  codec: "zstd",
  pages: [1, 2],
  data: Uint8Array.of(1),
};
const COMMIT: Extract<Message, { kind: "commit" }> = {
  kind: "commit",
  epoch: 2,
  position: 200n,
  ticks: 200n,
  digest: DIGEST,
  trace: { ...POINT, sequence: 4 },
};
const SEGMENT: Message = { kind: "segment", bytes: Uint8Array.of(3) };

const message = (m: Message): TargetEvent => ({ kind: "message", message: m });
const vm = (report: VmReport): TargetEvent => ({ kind: "vm", report });
const AT = { position: 200n, ticks: 200n };
const FRONTIER = vm({ kind: "at-frontier", guestWallNs: 0n, trace: { ...POINT, ...AT }, ...AT });

class Driver {
  readonly actions: TargetAction[] = [];
  #now = 0;
  readonly session = new TargetSession({
    readSegment: ([sequence = 0]) => ({
      sequence,
      nextSequence: sequence + 1,
      lastPosition: 200n,
    }),
    entropySeed: CHAIN,
    progressMs: 10,
    maxHeldBytes: MAX_HELD_BYTES,
  });

  /** So many milliseconds in which nothing happens but the clock. */
  wait(ms: number): this {
    this.#now += ms;
    return this.tell({ kind: "tick" });
  }

  /** The code with which it has ended. */
  get ending(): string | undefined {
    const { state } = this.session;
    return state.kind === "ended" && state.outcome.kind === "gone"
      ? state.outcome.reason.code
      : undefined;
  }

  tell(...events: TargetEvent[]): this {
    for (const event of events) {
      this.#now += 30;
      this.session.handle(event, this.#now, 0n);
      for (let a = this.session.poll(); a !== undefined; a = this.session.poll()) {
        this.actions.push(a);
        if (a.kind === "send") encodeFrame({ kind: "message", sequence: 0, message: a.message });
      }
    }
    return this;
  }

  did(kind: TargetAction["kind"]): boolean {
    return this.actions.some((a) => a.kind === kind);
  }

  /** The number of the last request of a kind to the machine. */
  requestId(kind: string): number {
    const found = this.actions.findLast((a) => a.kind === "vm" && a.request.kind === kind);
    return found?.kind === "vm" && "id" in found.request ? found.request.id : -1;
  }

  unpackId(): number {
    const found = this.actions.findLast((a) => a.kind === "unpack");
    return found?.kind === "unpack" ? found.id : -1;
  }
}

const HAS = { hasBase: [], checkpoints: [], freeMemoryBytes: 0, freeDiskBytes: 0 };
const JUDGED: TargetEvent = { kind: "judged", verdict: { kind: "accept", has: HAS } };
const TO_RECEIVING = [message(OFFER), JUDGED, message(checkpoint(0, [1, 2]))];

function unpacked(id: number): TargetEvent {
  const nothing = { chunks: [], unknownPages: [], unknownChunks: [] };
  return { kind: "unpacked", unpacked: { id, checkpoint: 0, pages: [1, 2], ...nothing } };
}

/** A session in each state. */
const WAYS: Readonly<Record<TargetState["kind"], () => Driver>> = {
  waiting: () => new Driver(),
  judging: () => new Driver().tell(message(OFFER)),
  receiving: () => new Driver().tell(...TO_RECEIVING),
  reaching: () => {
    const driver = new Driver().tell(...TO_RECEIVING, { kind: "made" }, message(GROUP));
    driver.tell(unpacked(driver.unpackId()), message(SEGMENT), message(COMMIT));
    return driver;
  },
  securing: () => {
    const driver = WAYS.reaching();
    const id = driver.requestId("replay-to");
    return driver.tell(FRONTIER, vm({ kind: "reached", id, digest: DIGEST, ...AT }));
  },
  recording: () =>
    WAYS.securing().tell(
      { kind: "checkpoint-stored", checkpoint: 0 },
      { kind: "trace-stored", nextSequence: 4 },
    ),
  "going-live": () => WAYS.recording().tell({ kind: "recorded" }),
  live: () => {
    const driver = WAYS["going-live"]();
    const id = driver.requestId("go-live");
    return driver.tell(vm({ kind: "live", id, checkpoint: 0, ...AT }));
  },
  ended: () => WAYS.live().tell(message({ kind: "moved", epoch: 2 })),
};

const EVENTS: readonly TargetEvent[] = [
  { kind: "tick" },
  { kind: "link-up" },
  { kind: "link-down" },
  { kind: "link-lost", reason: REASON },
  { kind: "cancel", reason: REASON },
  { kind: "unable", reason: REASON },
  { kind: "made" },
  { kind: "recorded" },
  { kind: "record-failed", reason: REASON },
  { kind: "ask-owner" },
  { kind: "trace-stored", nextSequence: 4 },
  { kind: "checkpoint-stored", checkpoint: 0 },
  JUDGED,
  { kind: "judged", verdict: { kind: "refuse", reason: REASON } },
  unpacked(1),
  message(OFFER),
  message(checkpoint(0, [1])),
  message(checkpoint(1, [1])),
  message(checkpoint(5, [1])),
  message(GROUP),
  message(SEGMENT),
  message({ kind: "segment", bytes: Uint8Array.of(9) }),
  message(COMMIT),
  message({ kind: "late-input", input: { kind: "power-button" } }),
  message({ kind: "cancel", phase: "x", reason: { code: "E_TEST", message: "" } }),
  message({ kind: "moved", epoch: 2 }),
  message({ kind: "ask-owner", migration: "m", lineage: "lineage", epoch: 2 }),
  // What only a target may say.
  message({ kind: "leapfrog", checkpoint: 1, taken: true, position: 1n }),
  vm({ kind: "missing", pages: [1], blocks: [] }),
  FRONTIER,
  vm({ kind: "digest-matched", digest: DIGEST, ...AT }),
  vm({ kind: "jumped", id: 1, applied: true, ...AT }),
  vm({ kind: "failed", error: { code: undefined, message: "gone", hint: undefined } }),
];

describe("every state and every event", () => {
  for (const state of Object.keys(WAYS) as TargetState["kind"][]) {
    test(`[TA1] ${state}`, () => {
      for (const event of EVENTS) {
        const driver = WAYS[state]();
        expect(driver.session.state.kind).toBe(state);
        const owned = driver.session.mayOwn;
        driver.tell(event);
        const after = driver.session.state;
        if (after.kind !== state) expect(TARGET_TRANSITIONS[state]).toContain(after.kind);
        // Who may own the machine forgets nothing, but for a record that was certainly not made.
        if (owned && event.kind !== "record-failed") expect(driver.did("forget")).toBe(false);
      }
    });
  }
});

describe("taking over", () => {
  test("[TA2] ownership is recorded when checkpoint and trace are stored, not before", () => {
    const driver = WAYS.securing();
    expect(driver.did("record-live")).toBe(false);
    driver.tell({ kind: "trace-stored", nextSequence: 4 });
    expect(driver.did("record-live")).toBe(false);
    driver.tell({ kind: "checkpoint-stored", checkpoint: 0 });
    expect(driver.did("record-live")).toBe(true);
    expect(driver.requestId("go-live")).toBe(-1);
    driver.tell({ kind: "recorded" });
    expect(driver.requestId("go-live")).toBeGreaterThan(0);
  });

  test("[TA3] refuses cutover on digest mismatch, and forgets everything", () => {
    const driver = WAYS.reaching();
    const place = { position: 200n, idleTicks: undefined };
    const reason = { kind: "digest", expected: DIGEST, actual: "1".repeat(32) } as const;
    const divergence = { reason, place, matched: undefined, before: [], after: [] };
    driver.tell(vm({ kind: "diverged", divergence, ...AT } as unknown as VmReport));
    expect(driver.session.state.kind).toBe("ended");
    expect(driver.did("forget")).toBe(true);
    expect(driver.actions.some((a) => a.kind === "send" && a.message.kind === "refused")).toBe(
      true,
    );
  });

  test("[TA4] a commitment is followed although the link is gone", () => {
    const driver = WAYS.reaching().tell({ kind: "link-lost", reason: REASON });
    const id = driver.requestId("replay-to");
    driver.tell(FRONTIER, vm({ kind: "reached", id, digest: DIGEST, ...AT }));
    expect(driver.session.state.kind).toBe("securing");
  });

  test("[TA5] the answer that it is not here is the end here", () => {
    const driver = WAYS.reaching().tell({ kind: "ask-owner" });
    expect(driver.actions.at(-1)).toEqual({ kind: "answer-owner", state: "not-here" });
    expect(driver.session.state.kind).toBe("ended");
    const live = WAYS.live().tell({ kind: "ask-owner" });
    expect(live.actions.at(-1)).toEqual({ kind: "answer-owner", state: "live-here" });
  });

  test("[TA6] contents may come before their checkpoint is announced", () => {
    const driver = new Driver().tell(message(OFFER), JUDGED, message(GROUP));
    expect(driver.did("unpack")).toBe(false);
    driver.tell(message(checkpoint(0, [1, 2])));
    expect(driver.did("unpack")).toBe(true);
  });
});

describe("a source that means harm", () => {
  const segment = (sequence: number, length: number): Message => {
    const bytes = new Uint8Array(length);
    bytes[0] = sequence;
    return { kind: "segment", bytes };
  };
  const zeros = (pages: readonly number[], number = 0): Message => {
    return { kind: "zero-pages", checkpoint: number, pages };
  };
  const late: Message = {
    kind: "late-input",
    input: { kind: "console", port: "uart", bytes: new Uint8Array(400) },
  };

  test.each([
    [MAX_HELD_BYTES - 1, undefined],
    [MAX_HELD_BYTES, undefined],
    [MAX_HELD_BYTES + 1, "E_NOT_CONVERGING"],
  ])("[TA9] %i bytes of trace that wait: %s", (bytes, code) => {
    const driver = new Driver().tell(...TO_RECEIVING, message(segment(3, bytes - 500)));
    driver.tell(message(segment(4, 500)));
    expect(driver.ending).toBe(code);
    if (code !== undefined) return;
    expect(driver.session.heldBytes).toBe(bytes);
    expect(driver.tell({ kind: "made" }).session.heldBytes).toBe(0);
  });

  test("[TA9] contents ahead of their announcement and inputs after F count as well", () => {
    const early = new Driver().tell(message(OFFER), JUDGED);
    const group: Message = { ...GROUP, data: new Uint8Array(900) };
    expect(early.tell(message(group)).ending).toBeUndefined();
    expect(early.tell(message(group)).ending).toBe("E_NOT_CONVERGING");
    const reaching = WAYS.reaching().tell(message(late), message(late));
    expect(reaching.session.heldBytes).toBe(2 * (64 + 400));
    expect(reaching.tell(message(late)).ending).toBe("E_NOT_CONVERGING");
    // Who may own the machine does not give it up for that.
    const recording = WAYS.recording().tell(message(late), message(late), message(late));
    expect(recording.session.state.kind).toBe("recording");
    expect(recording.session.heldBytes).toBe(2 * (64 + 400));
  });

  test("[TA9] inputs without a byte count, too", () => {
    const empty: Message = { kind: "late-input", input: { kind: "power-button" } };
    const driver = WAYS.reaching();
    const most = Math.floor(MAX_HELD_BYTES / 64);
    for (let i = 0; i < most; i++) driver.tell(message(empty));
    expect(driver.ending).toBeUndefined();
    expect(driver.tell(message(empty)).ending).toBe("E_NOT_CONVERGING");
  });

  test("[TA9] inputs after F have no place before F", () => {
    expect(WAYS.receiving().tell(message(late)).ending).toBe("E_PROTOCOL_STATE");
  });

  test("[TA9] contents come twice at most, and a little more", () => {
    const driver = WAYS.receiving();
    const pages = Array.from({ length: 50 }, (_, page) => page);
    for (let n = 0; n < 82; n++) driver.tell(message(zeros(pages)));
    expect(driver.ending).toBeUndefined();
    expect(driver.tell(message(zeros(pages))).ending).toBe("E_PROTOCOL_STATE");
  });

  test("[TA9] pages that the machine has not are refused; chunks of zeros are contents", () => {
    expect(WAYS.receiving().tell(message(zeros([63]))).ending).toBeUndefined();
    expect(WAYS.receiving().tell(message(zeros([64]))).ending).toBe("E_PROTOCOL_MALFORMED");
    const chunks = (disk: number): Message => {
      return { kind: "zero-chunks", checkpoint: 0, chunks: [{ disk, chunk: 7 }] };
    };
    const disks = [{ sizeBytes: 65_536 * 8, sha256: CHAIN }];
    const begin = [message({ ...OFFER, disks }), JUDGED, message(checkpoint(0, [1]))];
    const driver = new Driver().tell(...begin, message(chunks(0)));
    expect(driver.did("unpack")).toBe(true);
    expect(driver.tell(message(chunks(1))).ending).toBe("E_PROTOCOL_MALFORMED");
  });

  test("[TA9] a commitment to another place than the trace's end is refused", () => {
    const driver = WAYS.receiving().tell({ kind: "made" }, message(SEGMENT));
    driver.tell(message({ ...COMMIT, position: 201n }));
    expect(driver.ending).toBe("E_PROTOCOL_STATE");
  });

  test("[TA10] a source that is silent over a link that is up is given up", () => {
    const driver = WAYS.receiving().tell({ kind: "link-up" });
    expect(driver.wait(29_000).ending).toBeUndefined();
    driver.tell(message(SEGMENT));
    expect(driver.wait(29_000).ending).toBeUndefined();
    expect(driver.wait(2000).ending).toBe("E_PEER_SILENT");
    const apart = WAYS.receiving().tell({ kind: "link-up" }, { kind: "link-down" });
    expect(apart.wait(100_000).ending).toBeUndefined();
  });

  test("[TA10] a commitment whose contents cannot come any more is not waited for", () => {
    const incomplete = (): Driver => WAYS.receiving().tell(message(SEGMENT), message(COMMIT));
    expect(incomplete().tell({ kind: "link-lost", reason: REASON }).ending).toBe("E_TEST");
    expect(incomplete().tell({ kind: "link-up" }).wait(31_000).ending).toBe("E_PEER_SILENT");
  });
});
