/** Debian moves between two real threads while it works. */
import { beforeAll, beforeEach, expect, onTestFinished, test } from "vitest";
import { Debian, debianImage, until } from "./support/debian.ts";
import { migrate, Target } from "./support/hosts.ts";

let image: Awaited<ReturnType<typeof debianImage>> = "not built";
beforeAll(async () => {
  image = await debianImage();
});
beforeEach((context) => {
  if (typeof image === "string") context.skip(`no Debian image: ${image}`);
});

const WORKLOADS = {
  idle: "true",
  cpu: "md5sum /dev/zero &",
  dirty: "python3 -c 'b=bytearray(1<<24)\nimport os\nwhile 1: b[:]=os.urandom(1<<16)*256' &",
};

test.each(Object.keys(WORKLOADS) as (keyof typeof WORKLOADS)[])(
  "[MI2] Debian moves: %s",
  async (load) => {
    if (typeof image === "string") return;
    const debian = await Debian.boot(image, 128);
    const { machine } = debian;
    onTestFinished(() => machine.vm.terminate());
    machine.type(`${WORKLOADS[load]}\n`);
    machine.type("echo be''fore\n");
    await until(() => machine.said.includes("before"), 20_000);
    await new Promise((resolve) => setTimeout(resolve, 1000));
    const target = new Target({ config: debian.config, disks: [debian.disk] });
    const migration = migrate({
      machine,
      target,
      offer: {
        lineage: `lineage-${load}`,
        name: load,
        epoch: 1,
        semantics: 1,
        pageCount: debian.config.memoryBytes / 4096,
        disks: [{ sizeBytes: debian.disk.sizeBytes, sha256: new Uint8Array(32) }],
        fingerprint: new Uint8Array(0),
        description: new Uint8Array(0),
      },
    });
    const report = await migration.done;
    expect(report.outcome).toEqual({ kind: "moved", epoch: 2 });
    const taken = await target.taken.promise;
    onTestFinished(() => void taken.machine.terminate());
    target.machine?.type("echo af''ter\n");
    await until(
      () => target.machine?.said.includes("after") === true,
      20_000,
      () => target.machine?.said ?? "",
    );
    machine.type("echo late\n");
    expect(machine.said).not.toContain("late");
  },
);
