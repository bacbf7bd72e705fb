/** Debian moves between two real threads while it works. */
import type { MigrationReport } from "@dejavm/source-agent";
import type { TakenMachine } from "@dejavm/target-agent";
import { beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { Debian, debianImage, until } from "./support/debian.ts";
import { type LiveMachine, migrate, Target } from "./support/hosts.ts";

const image = { found: "not built" as Awaited<ReturnType<typeof debianImage>> };
beforeAll(async () => {
  image.found = await debianImage();
});
beforeEach((context) => {
  if (typeof image.found === "string") context.skip(`no Debian image: ${image.found}`);
});

/** A guest that does `command`, and says so. */
async function working(command: string): Promise<Debian> {
  if (typeof image.found === "string") throw new Error(image.found);
  const debian = await Debian.boot(image.found, 128);
  onTestFinished(() => debian.machine.vm.terminate());
  debian.machine.type(`${command}\n`);
  debian.machine.type("echo be''fore\n");
  await until(() => debian.machine.said.includes("before"), 20_000);
  return debian;
}

interface Move {
  readonly report: MigrationReport;
  readonly taken: TakenMachine;
  readonly machine: LiveMachine;
}

/** One move; the machine answers at the target. */
async function move(
  debian: Debian,
  machine: LiveMachine,
  target: Target,
  from: { readonly epoch: number; readonly taken?: TakenMachine },
): Promise<Move> {
  const migration = migrate({
    machine,
    target,
    bases: [debian.disk.path],
    offer: {
      lineage: "lineage-debian",
      name: "debian",
      epoch: from.epoch,
      semantics: 1,
      pageCount: debian.config.memoryBytes / 4096,
      disks: [{ sizeBytes: debian.disk.sizeBytes, sha256: new Uint8Array(32) }],
      fingerprint: new Uint8Array(0),
      description: new Uint8Array(0),
    },
    onRecord: ({ state, epoch }) => {
      from.taken?.writer.recordOwnership({ state, epoch, peer: "", detail: "" });
      if (state === "moved") from.taken?.writer.release();
    },
  });
  const report = await migration.done;
  console.log(summary(report));
  expect(report.outcome).toEqual({ kind: "moved", epoch: from.epoch + 1 });
  const taken = await target.taken.promise;
  target.taken = Promise.withResolvers();
  const there = target.machine;
  if (there === undefined) throw new Error("nobody was made");
  onTestFinished(() => there.vm.terminate());
  there.type("echo af''ter\n");
  await until(
    () => there.said.includes("after"),
    20_000,
    () => there.said,
  );
  return { report, taken, machine: there };
}

function summary(report: MigrationReport): string {
  const { totalMs, downtime, checkpoints, leapfrogs } = report;
  const times = `${Math.round(totalMs)} ms, pause ${Math.round(downtime?.totalMs ?? 0)} ms`;
  const counts = `${checkpoints} checkpoints, ${leapfrogs} leapfrogs`;
  return `${times}, ${sentBytes(report)} bytes, ${counts}`;
}

function sentBytes({ bytes }: MigrationReport): number {
  const { checkpoint, increments, references, onDemand, chunks, trace, control } = bytes;
  return checkpoint + increments + references + onDemand + chunks + trace + control;
}

test("[MI3] Debian moves there, back, and there again with little to send", async () => {
  const debian = await working("true");
  const hosts = { config: debian.config, disks: [debian.disk] };
  const [here, there] = [new Target(hosts), new Target(hosts)];
  const first = await move(debian, debian.machine, there, { epoch: 1 });
  const second = await move(debian, first.machine, here, { epoch: 2, taken: first.taken });
  const third = await move(debian, second.machine, there, { epoch: 3, taken: second.taken });
  expect(sentBytes(third.report) * 5).toBeLessThan(sentBytes(first.report));
});

test("[MI2] Debian moves while it computes", async () => {
  const debian = await working("md5sum /dev/zero &");
  const target = new Target({ config: debian.config, disks: [debian.disk] });
  await move(debian, debian.machine, target, { epoch: 1 });
});

test("[MI2] Debian moves while it rewrites its memory", async () => {
  const python = "b=bytearray(1<<24)\nimport os\nwhile 1: b[:]=os.urandom(1<<16)*256";
  const debian = await working(`python3 -c '${python}' &`);
  const target = new Target({ config: debian.config, disks: [debian.disk] });
  await move(debian, debian.machine, target, { epoch: 1 });
});
