import { describe, expect, test } from "vitest";
import { Controller, type ControllerOptions, type Situation } from "./controller.ts";

const OPTIONS: ControllerOptions = { maxDowntimeMs: 100, minShare: 0.5, ifNotConverging: "slow" };

function situation(over: Partial<Situation> = {}): Situation {
  return {
    now: 0,
    sourceSpeed: 100_000,
    replaySpeed: 100_000,
    lagPositions: 0,
    targetLagPositions: 0,
    positionsSinceCheckpoint: 0,
    share: 1,
    rttMs: 60,
    bytesPerMs: 10_000,
    pendingBytes: 0,
    incrementBytes: 100_000,
    incrementHostMs: 0,
    isComplete: true,
    isDurable: true,
    isReplayStarved: false,
    digestsMatched: 1,
    ...over,
  };
}

const LAG = { lagPositions: 100_000 * 500, targetLagPositions: 100_000 * 470 };

describe("controller", () => {
  test("[CT1] hands over only to a target that is complete, durable, close and verified", () => {
    const controller = new Controller(OPTIONS);
    expect(controller.decide(situation()).kind).toBe("cutover");
    const missing = [{ isComplete: false }, { isDurable: false }, { digestsMatched: 0 }];
    for (const over of missing) expect(controller.decide(situation(over)).kind).toBe("wait");
    expect(new Controller(OPTIONS).decide(situation(LAG)).kind).not.toBe("cutover");
  });

  test("[CT2] an idle guest, whose target has nothing to do, is handed over, too", () => {
    const idle = situation({ sourceSpeed: 0, replaySpeed: 0 });
    expect(new Controller(OPTIONS).decide(idle).kind).toBe("cutover");
  });

  test("[CT3] takes what ends sooner: replay or an increment", () => {
    const slow = new Controller(OPTIONS).decide(situation(LAG));
    expect(slow.kind).toBe("increment");
    const fast = new Controller(OPTIONS).decide(
      situation({ ...LAG, replaySpeed: 1_000_000, incrementBytes: 1e8 }),
    );
    expect(fast.kind).toBe("wait");
    const huge = new Controller(OPTIONS).decide(situation({ ...LAG, incrementBytes: 1e9 }));
    expect(huge.kind).toBe("wait");
    // A fast path is of no use where the hosts take as long as a slow one would.
    const busy = new Controller(OPTIONS).decide(situation({ ...LAG, incrementHostMs: 1e5 }));
    expect(busy.kind).toBe("wait");
  });

  test("[CT3] slows down a guest that rewrites its memory, instead of copying it again", () => {
    // 64 MiB take 20 s on the link, and 14 s of lag would be left; at half the speed 27 s do it.
    const rewriting = situation({
      sourceSpeed: 48_000,
      lagPositions: 100_000 * 20_700,
      targetLagPositions: 100_000 * 20_000,
      bytesPerMs: 2300,
      incrementBytes: 64 * 2 ** 20,
    });
    expect(new Controller(OPTIONS).decide(rewriting).kind).toBe("wait");
    // A target that is slower even then has nothing but increments.
    const slow = { ...rewriting, sourceSpeed: 250_000, incrementBytes: 2 ** 20 };
    expect(new Controller(OPTIONS).decide(slow).kind).toBe("increment");
  });

  test("[CT3] sends the same pages again only where that ends distinctly sooner", () => {
    // A chase takes 3.1 s at half the speed; with the increment first it is 3.0 s, or 1.1 s.
    const chased = { ...LAG, lagPositions: 100_000 * 1990, sourceSpeed: 71_000 };
    const kind = (incrementHostMs: number) =>
      new Controller(OPTIONS).decide(situation({ ...chased, incrementHostMs })).kind;
    expect(kind(1380)).toBe("wait");
    expect(kind(500)).toBe("increment");
  });

  test("[CT4] throttles in small steps to the floor, and no further before patience ends", () => {
    const controller = new Controller(OPTIONS);
    let share = 1;
    const shares: number[] = [];
    for (let now = 0; now < 6000; now += 50) {
      const s = situation({ ...LAG, incrementBytes: 1e9, share, now });
      const decision = controller.decide(s);
      if (decision.kind !== "throttle") continue;
      expect(decision.share).toBeGreaterThan(share * 0.7);
      share = decision.share;
      shares.push(share);
    }
    expect(shares.length).toBeGreaterThan(3);
    expect(Math.min(...shares)).toBe(0.5);
  });

  test("[CT4] slows down while pages are under way only where replay is not much faster", () => {
    const shares = (over: Partial<Situation>) => {
      const controller = new Controller(OPTIONS);
      let share = 1;
      const seen: number[] = [];
      for (let now = 0; now < 4000; now += 50) {
        const sourceSpeed = (over.sourceSpeed ?? 0) * share;
        const grown = { positionsSinceCheckpoint: 100_000 * 500, incrementBytes: 1e8 };
        const far = { ...LAG, ...grown, isComplete: false };
        const s = situation({ ...far, share, now, ...over, sourceSpeed });
        const decision = controller.decide(s);
        if (decision.kind !== "throttle") continue;
        share = decision.share;
        seen.push(share);
      }
      return seen;
    };
    const steps = shares({ sourceSpeed: 100_000 });
    expect(steps[0]).toBeCloseTo(0.88);
    expect(steps.at(-1)).toBeCloseTo(0.6, 1);
    expect(shares({ sourceSpeed: 300_000 }).at(-1)).toBe(0.5);
    expect(shares({ sourceSpeed: 50_000 })).toEqual([]);
    // 2 MB take 260 ms: that is all the lag there will be.
    expect(shares({ sourceSpeed: 100_000, incrementBytes: 2e6 })).toEqual([]);
    // However far behind the target is: what is under way puts it here.
    expect(shares({ sourceSpeed: 100_000, positionsSinceCheckpoint: 1_000_000 })).toEqual([]);
    expect(shares({ sourceSpeed: 100_000, replaySpeed: 0 })).toEqual([]);
    // Whose speed is not known yet: it waits for pages, or has hardly begun.
    expect(shares({ sourceSpeed: 100_000, isReplayStarved: true })).toEqual([]);
    expect(shares({ sourceSpeed: 500_000 })).toEqual([]);
  });

  test("[CT5] gives up increments that bring the target no closer", () => {
    const lags = (lagPositions: (increments: number) => number): string[] => {
      const controller = new Controller(OPTIONS);
      const kinds: string[] = [];
      for (let now = 0; now < 60_000 && kinds.length < 20; now += 50) {
        const s = { ...LAG, sourceSpeed: 300_000, incrementBytes: 100, now };
        const decision = controller.decide(
          situation({ ...s, lagPositions: lagPositions(kinds.length) }),
        );
        if (decision.kind !== "wait") kinds.push(decision.kind);
        if (decision.kind === "end-by-copy") break;
      }
      return kinds;
    };
    const same = lags(() => 100_000 * 500);
    expect(same).toEqual([...Array.from({ length: 5 }, () => "increment"), "end-by-copy"]);
    const shrinking = lags((increments) => 100_000 * 20_000 * 0.6 ** increments);
    expect(shrinking.filter((kind) => kind === "increment").length).toBeGreaterThan(7);
  });

  test("[CT5] always ends where nothing converges, as was asked for", () => {
    const ends = (
      ifNotConverging: ControllerOptions["ifNotConverging"],
      incrementBytes: number,
    ) => {
      const controller = new Controller({ ...OPTIONS, ifNotConverging });
      let share = 1;
      for (let now = 0; now < 120_000; now += 50) {
        const decision = controller.decide(situation({ ...LAG, incrementBytes, share, now }));
        if (decision.kind === "throttle") share = decision.share;
        else if (decision.kind !== "wait") return { kind: decision.kind, share };
      }
      return undefined;
    };
    expect(ends("copy", 1e9)?.kind).toBe("end-by-copy");
    expect(ends("cancel", 1e9)?.kind).toBe("cancel");
    expect(ends("slow", 1e9)?.kind).toBe("end-by-copy");
    expect(ends("slow", 1e9)?.share).toBeLessThan(0.5);
  });

  test("[CT6] every decision says why, with figures", () => {
    for (const over of [{}, LAG, { isComplete: false }]) {
      expect(new Controller(OPTIONS).decide(situation(over)).why.length).toBeGreaterThan(10);
    }
  });
});
