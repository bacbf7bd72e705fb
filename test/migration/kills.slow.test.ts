/**
 * Agents as real processes die by SIGKILL while a machine moves: in each phase, at random moments
 * and between durable writes, the source, the target or both. Afterwards there is exactly one live
 * machine, by itself, and every write that redis had acknowledged is in it. DEJAVM_KILLS says how
 * many deaths, DEJAVM_SEED which.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { startMigration } from "@dejavm/agent";
import { Prng } from "@dejavm/base";
import { RedisClient } from "@dejavm/bench";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentPair, MOVED, otherSide, redisPort, type Side } from "../support/agent-pair.ts";

const KILLS = Number(process.env["DEJAVM_KILLS"] ?? 5);
const SEED = Number(process.env["DEJAVM_SEED"] ?? Date.now() % 1_000_000);
/** Long enough for each phase to be seen, short enough for many of them. */
const PROFILE = "continental";
const SETTLED_MS = 120_000;

/** When somebody dies. */
type Moment =
  | { readonly kind: "phase"; readonly phase: string }
  | { readonly kind: "time"; readonly ms: number }
  /** At a named place between durable writes, the n-th time that it is passed from the offer on. */
  | { readonly kind: "write"; readonly point: string };

const PHASES = ["negotiate", "checkpoint", "chase", "cutover", "handing-over", "ended"];
/** Durable writes of a migration; those of a source that merely runs are test/recovery's. */
const WRITES: Readonly<Record<"source" | "target", readonly string[]>> = {
  source: [
    "ownership.committed:1",
    "ownership.synced:1",
    "ownership.committed:2",
    "ownership.synced:2",
  ],
  target: [
    "append.before-commit:1",
    "append.done:1",
    "append.done:20",
    "checkpoint.begun:1",
    "checkpoint.pages-put:1",
    "checkpoint.pages-put:3",
    "checkpoint.before-commit:1",
    "checkpoint.committed:1",
    "ownership.committed:1",
    "ownership.synced:1",
  ],
};

interface Death {
  readonly victims: readonly ("source" | "target")[];
  readonly moment: Moment;
}

/** Every phase with every victim, every write, and moments by chance, in a seeded order. */
function deaths(random: Prng): Death[] {
  const all: Death[] = PHASES.flatMap((phase) =>
    ([["source"], ["target"], ["source", "target"]] as const).map((victims) => ({
      victims,
      moment: { kind: "phase", phase } as const,
    })),
  );
  for (const victim of ["source", "target"] as const) {
    for (const point of WRITES[victim]) {
      all.push({ victims: [victim], moment: { kind: "write", point } });
    }
  }
  while (all.length < KILLS) {
    const victims = random.pick([["source"], ["target"], ["source", "target"]] as const);
    all.push({ victims, moment: { kind: "time", ms: random.below(5000) } });
  }
  return shuffled(all, random).slice(0, KILLS);
}

function shuffled<T>(items: readonly T[], random: Prng): T[] {
  const keyed = items.map((item) => ({ item, key: random.below(2 ** 30) }));
  return keyed.toSorted((a, b) => a.key - b.key).map(({ item }) => item);
}

let pair: AgentPair;

beforeAll(async () => {
  pair = await AgentPair.start(PROFILE);
});
afterAll(() => pair?.close());

/** Settles once one side runs the machine and the other one knows that it does not. */
async function settled(): Promise<Side> {
  const deadline = performance.now() + SETTLED_MS;
  for (;;) {
    const live = await pair.live();
    expect(live.length, "live machines").toBeLessThanOrEqual(1);
    const [side] = live;
    if (side !== undefined) {
      const other = await pair.summary(otherSide(side));
      if (other === undefined || other.state === "moved") return side;
    }
    if (performance.now() > deadline) {
      const stands = [await pair.summary("lima"), await pair.summary("oslo")];
      throw new Error(`nothing settles: ${JSON.stringify(stands)}`);
    }
    await sleep(100);
  }
}

/** Carries one death out; gives which sides are to be started again. */
async function moveAndDie(from: Side, { victims, moment }: Death): Promise<readonly Side[]> {
  const to = otherSide(from);
  const sides = victims.map((victim) => (victim === "source" ? from : to));
  if (moment.kind === "write") {
    for (const side of sides) {
      await pair.agent(side).close();
      await pair.startAgain(side, { DEJAVM_FAIL_POINT: moment.point });
    }
    await settled();
  }
  const dying = Promise.withResolvers<void>();
  const die = (): void => dying.resolve();
  const migration = await startMigration(pair.agent(from).client, MOVED, { to }, ({ phase }) => {
    if (moment.kind === "phase" && phase === moment.phase) die();
  });
  const ended = migration.report.then(
    (report) => JSON.stringify(report.outcome),
    () => "gone",
  );
  if (moment.kind !== "write") {
    const isDue = moment.kind === "time" ? sleep(moment.ms) : dying.promise;
    const early = await Promise.race([ended, isDue.then(() => undefined)]);
    // Nobody has died yet, so nothing keeps it from moving.
    if (early !== undefined) expect(early).toContain('"moved"');
  } else {
    const how = await Promise.race([ended, gone(sides)]);
    const died = (): boolean => sides.every((side) => pair.agent(side).isGone);
    await expect.poll(died, { message: `it dies of itself; the migration: ${how}` }).toBe(true);
  }
  await Promise.all(sides.map((side) => pair.agent(side).kill()));
  return sides;
}

async function gone(sides: readonly Side[]): Promise<string> {
  while (!sides.some((side) => pair.agent(side).isGone)) await sleep(20);
  return "was under way";
}

const nameOf = ({ victims, moment }: Death): string => {
  const { kind, ...at } = moment;
  return `${victims.join(" and ")} at ${kind} ${Object.values(at).join()}`;
};

test.for(deaths(new Prng(SEED)).map((death, at) => [nameOf(death), at, death] as const))(
  `[AG7] one live machine, nothing acknowledged lost: %s (seed ${SEED}, %i)`,
  async ([, at, death]) => {
    const from = await settled();
    const before = await pair.summary(from);
    if (before === undefined) throw new Error("a machine that is live is listed");
    const client = await RedisClient.start({
      host: "127.0.0.1",
      port: redisPort(before),
      keyCount: 200,
      valueBytes: 256,
      operationsPerSecond: 200,
      seed: SEED + at,
      prefix: `life ${at}`,
    });
    client.work();
    const killed = await moveAndDie(from, death);
    client.close();
    await client.stop();
    for (const side of killed) await pair.startAgain(side);
    const side = await settled();
    const after = await pair.summary(side);
    if (after === undefined) throw new Error("a machine that is live is listed");
    const lost = await client.lost("new-connection", redisPort(after));
    const { wrong, differences } = client.report;
    expect({ wrong, lost, differences }).toEqual({ wrong: 0, lost: 0, differences: [] });
  },
);
