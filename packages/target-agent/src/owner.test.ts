import { expect, test } from "vitest";
import { offerRefusal, ownerByRecords } from "./owner.ts";

test("[TA7] who owns a machine, by the last record and the epoch asked for", () => {
  expect(ownerByRecords([], 2)).toBe("not-here");
  expect(ownerByRecords([{ state: "receiving", epoch: 1 }], 2)).toBe("not-here");
  expect(ownerByRecords([{ state: "receiving", epoch: 2 }], 2)).toBe("not-here");
  expect(ownerByRecords([{ state: "live", epoch: 1 }], 2)).toBe("not-here");
  expect(ownerByRecords([{ state: "live", epoch: 2 }], 2)).toBe("live-here");
  expect(ownerByRecords([{ state: "live", epoch: 5 }], 2)).toBe("live-here");
  expect(ownerByRecords([{ state: "ended", epoch: 2 }], 2)).toBe("live-here");
  expect(ownerByRecords([{ state: "offering", epoch: 3 }], 2)).toBe("moved-on");
  expect(ownerByRecords([{ state: "moved", epoch: 3 }], 2)).toBe("moved-on");
});

test("[TA8] what lives here, or was here later, does not come", () => {
  expect(offerRefusal([], 1)).toBeUndefined();
  for (const state of ["live", "ended", "offering"] as const) {
    expect(offerRefusal([{ state, epoch: 2 }], 9)).toBe("lives-here");
  }
  expect(offerRefusal([{ state: "moved", epoch: 2 }], 1)).toBe("outdated");
  expect(offerRefusal([{ state: "moved", epoch: 2 }], 2)).toBeUndefined();
  expect(
    offerRefusal(
      [
        { state: "live", epoch: 1 },
        { state: "moved", epoch: 2 },
      ],
      2,
    ),
  ).toBeUndefined();
});
