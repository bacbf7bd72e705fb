/** A booting Debian with scripted input comes to the same states, however it is run. */
import { fileURLToPath } from "node:url";
import { hostTool, runProcess } from "@dejavm/debian";
import { beforeAll, beforeEach, describe, expect, test } from "vitest";
import { runInChromium } from "./browser.ts";
import { findGuest, type Guest } from "./default-guest.ts";
import { MARKS, runScenario, type Way } from "./scenario.ts";

const PROCESS = fileURLToPath(new URL("scenario-process.ts", import.meta.url));
let guest: Guest | string = "not built";

function theGuest(): Guest {
  if (typeof guest === "string") throw new Error(guest);
  return guest;
}

beforeAll(async () => {
  guest = await findGuest();
});
beforeEach((context) => {
  if (typeof guest === "string") context.skip(`no Debian image: ${guest}`);
});

describe("a booting Debian has equal digests at equal positions", () => {
  let expected: readonly string[] = [];
  beforeAll(() => {
    if (typeof guest !== "string") expected = runScenario(guest.files, { engine: "default" });
  });

  test("[DE1] there are as many states as places, all different", () => {
    expect(new Set(expected).size).toBe(MARKS.length);
  });

  test.for<[string, Way]>([
    ["[DE2] cut into random slices", { engine: "default", meanSlice: 50_000 }],
    [
      "[DE3] saved and restored at random places, into a used and into a fresh machine",
      { engine: "default", meanSlice: 40_000_000, disturb: "save and restore" },
    ],
    [
      "[DE4] with every cache dropped at random places",
      { engine: "default", meanSlice: 1_000_000, disturb: "drop caches" },
    ],
    ["[DE5] interpreter only", { engine: "interpreter" }],
    ["[DE5] translated at random times", { engine: "random times", marks: 3 }],
    ["[DE5] translated early", { engine: "early", marks: 3 }],
  ])("%s", ([, way]) => {
    expect(runScenario(theGuest().files, way)).toEqual(expected.slice(0, way.marks));
  });

  test("[DE6] in another process, cut into other slices", async () => {
    const way: Way = { engine: "default", meanSlice: 300_000, marks: 4 };
    const input = { paths: theGuest().paths, way };
    const args = [...process.execArgv, PROCESS, JSON.stringify(input)];
    const { exitCode, stdout, stderr } = await runProcess(process.execPath, args);
    expect([exitCode, stderr]).toEqual([0, ""]);
    expect(JSON.parse(stdout)).toEqual(expected.slice(0, way.marks));
  });

  test.for<Way>([{ engine: "default" }, { engine: "interpreter", marks: 2 }])(
    "[DE7] in Chromium, engine $engine",
    async (way, { skip }) => {
      const chromium = await hostTool("chromium");
      if (chromium.kind === "skipped") return skip(chromium.reason);
      const task = { worker: "scenario-worker.ts", message: way };
      const digests = await runInChromium(chromium.command, theGuest().files, task);
      expect(digests).toEqual(expected.slice(0, way.marks));
    },
  );
});
