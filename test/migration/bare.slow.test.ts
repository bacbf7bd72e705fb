/** A small guest moves between two real threads. */
import { createHash } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { encodeState, SnapshotReader } from "@dejavm/machine";
import type { SourceMigration } from "@dejavm/source-agent";
import { hostCodecs } from "@dejavm/vm";
import { expect, onTestFinished, test } from "vitest";
import { echoing, OFFER, TINY } from "./support/echo.ts";
import { type LiveMachine, migrate, Target } from "./support/hosts.ts";
import { Path } from "./support/sockets.ts";

async function started(): Promise<LiveMachine> {
  const source = await echoing();
  onTestFinished(() => source.vm.terminate());
  return source;
}

/** Of state, pages and chunks; a snapshot also says when it was made. */
function sha256OfSnapshot(file: Uint8Array): string {
  let at = 0;
  const read = (count: number): Uint8Array => file.subarray(at, (at += count));
  const snapshot = SnapshotReader.open({ read }, hostCodecs);
  const hash = createHash("sha256").update(encodeState(snapshot.state));
  let pages = 0;
  for (const { bytes, ...place } of snapshot.contents()) {
    hash.update(JSON.stringify(place)).update(bytes);
    if (place.kind === "page") pages++;
  }
  expect(pages).toBeGreaterThan(0);
  return hash.digest("hex");
}

/** What is typed at the target is echoed there, and nowhere else. */
async function livesAt(target: Target, source: LiveMachine): Promise<void> {
  const taken = await target.taken.promise;
  onTestFinished(() => void taken.machine.terminate());
  target.machine?.type("two");
  await expect.poll(() => target.machine?.said, { timeout: 20_000 }).toBe("two");
  expect(source.said).toBe("one ");
}

test("[MI1] a machine moves: equal digests, nothing typed is lost", async () => {
  const source = await started();
  const target = new Target({ config: TINY });
  const records: string[] = [];
  const migration = migrate({
    machine: source,
    target,
    offer: OFFER,
    onRecord: ({ state, epoch }) => void records.push(`${state} ${epoch}`),
  });
  const report = await migration.done;
  expect(report.outcome).toEqual({ kind: "moved", epoch: 2 });
  expect(report.digestsCompared).toBeGreaterThan(0);
  expect(records).toEqual(["offering 2", "moved 2"]);
  await livesAt(target, source);
});

test("[MI4] a link that breaks again and again is taken up where it was", async () => {
  const source = await started();
  const target = new Target({ config: TINY });
  const path = new Path(20);
  const trouble = setInterval(() => {
    path.isCut = true;
    path.breakAll();
    setTimeout(() => {
      path.isCut = false;
    }, 300);
  }, 1000);
  onTestFinished(() => clearInterval(trouble));
  const report = await migrate({ machine: source, target, offer: OFFER, path }).done;
  expect(report.outcome).toEqual({ kind: "moved", epoch: 2 });
  await livesAt(target, source);
});

test("[MI10] a source that was killed and started again may offer at once", async () => {
  const [killed, again] = [await started(), await started()];
  const target = new Target({ config: TINY });
  const [old, path] = [new Path(20), new Path(20)];
  const accepted = Promise.withResolvers<void>();
  const first = migrate({
    machine: killed,
    target,
    offer: OFFER,
    path: old,
    onProgress: ({ phase }) => phase === "checkpoint" && accepted.resolve(),
  });
  await accepted.promise;
  // While that link is up nobody else may bring the machine.
  const early = migrate({ machine: again, target, offer: OFFER, path });
  expect((await early.done).outcome).toMatchObject({ kind: "stayed", code: "E_VM_STATE" });
  old.isCut = true;
  old.breakAll();
  const [coming] = target.acceptor.migrations;
  const offerAgain = async () =>
    (await migrate({ machine: again, target, offer: OFFER, path }).done).outcome;
  let outcome = await offerAgain();
  // Until it is noticed that the link is down.
  while (outcome.kind === "stayed" && outcome.code === "E_VM_STATE") outcome = await offerAgain();
  expect(outcome).toEqual({ kind: "moved", epoch: 2 });
  expect(await coming?.done).toMatchObject({ reason: { code: "E_PEER_RESTARTED" } });
  await livesAt(target, again);
  first.cancel({ code: "E_CANCELLED", message: "enough", hint: undefined });
  expect((await first.done).outcome).toMatchObject({ kind: "stayed" });
});

test("[MI5] a cancel lets the machine run on, and it can move later", async () => {
  const source = await started();
  const target = new Target({ config: TINY });
  const path = new Path(20);
  const first = migrate({ machine: source, target, offer: OFFER, path });
  await sleep(400);
  first.cancel({ code: "E_CANCELLED", message: "enough", hint: undefined });
  expect((await first.done).outcome).toMatchObject({ kind: "stayed", code: "E_CANCELLED" });
  source.type("more ");
  await expect.poll(() => source.said, { timeout: 20_000 }).toBe("one more ");
  const again = migrate({ machine: source, target, offer: { ...OFFER, epoch: 3 }, path });
  expect((await again.done).outcome).toEqual({ kind: "moved", epoch: 4 });
});

test("[MI5] a cancel while the offer is recorded is recorded after it", async () => {
  const source = await started();
  const target = new Target({ config: TINY });
  const records: string[] = [];
  const migration: SourceMigration = migrate({
    machine: source,
    target,
    offer: OFFER,
    onRecord: async ({ state, epoch }) => {
      records.push(`${state} ${epoch} begun`);
      if (state === "offering") {
        migration.cancel({ code: "E_CANCELLED", message: "enough", hint: undefined });
        await sleep(100);
      }
      records.push(`${state} ${epoch} made`);
    },
  });
  expect((await migration.done).outcome).toMatchObject({ kind: "stayed", code: "E_CANCELLED" });
  const offered = ["offering 2 begun", "offering 2 made"];
  expect(records).toEqual([...offered, "live 3 begun", "live 3 made"]);
  source.type("on");
  await expect.poll(() => source.said, { timeout: 20_000 }).toBe("one on");
});

test("[MI6] where it is handed over, both hosts' RAM and state have one sha256", async () => {
  const folder = mkdtempSync(join(tmpdir(), "dejavm-equal-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const sha256 = async (machine: LiveMachine): Promise<string> => {
    const path = join(folder, "snapshot");
    await machine.vm.save({ path });
    return sha256OfSnapshot(readFileSync(path));
  };
  const source = await started();
  const atTarget = Promise.withResolvers<string>();
  const target = new Target({
    config: TINY,
    intercept: async (request, machine) => {
      if (request.kind === "go-live") atTarget.resolve(await sha256(machine));
      return request;
    },
  });
  const report = await migrate({ machine: source, target, offer: OFFER }).done;
  expect(report.outcome.kind).toBe("moved");
  // It stands where it was frozen.
  expect(await sha256(source)).toBe(await atTarget.promise);
  await livesAt(target, source);
});

test("[MI7] one bit that is wrong at the target is found before it lives there", async () => {
  const source = await started();
  let flipped = 0;
  const target = new Target({
    config: TINY,
    intercept: (request) => {
      if (request.kind !== "supply-pages" || flipped > 0) return request;
      flipped++;
      const bytes = request.bytes.slice();
      // In the last byte of a page: nothing that this guest reads.
      bytes[4095] = (bytes[4095] ?? 0) ^ 1;
      return { ...request, bytes };
    },
  });
  const report = await migrate({ machine: source, target, offer: OFFER }).done;
  expect(flipped).toBe(1);
  expect(report.outcome).toMatchObject({ kind: "stayed", code: "E_DIVERGED" });
  source.type("on");
  await expect.poll(() => source.said, { timeout: 20_000 }).toBe("one on");
});

test("[MI5] a cancel while the target still judges leaves nothing behind there", async () => {
  const source = await started();
  const judging = Promise.withResolvers<void>();
  const asked = Promise.withResolvers<void>();
  let offers = 0;
  const target = new Target({
    config: TINY,
    beforeJudging: async () => {
      asked.resolve();
      if (offers++ === 0) await judging.promise;
    },
  });
  const first = migrate({ machine: source, target, offer: OFFER });
  await asked.promise;
  first.cancel({ code: "E_CANCELLED", message: "enough", hint: undefined });
  expect((await first.done).outcome).toMatchObject({ kind: "stayed", code: "E_CANCELLED" });
  await expect.poll(() => target.acceptor.migrations.every(({ isOver }) => isOver)).toBe(true);
  judging.resolve();
  const again = migrate({ machine: source, target, offer: OFFER });
  expect((await again.done).outcome).toEqual({ kind: "moved", epoch: 2 });
  await livesAt(target, source);
});
