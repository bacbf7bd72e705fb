/** Debian on the machine, through the command line and through the live machine's own interface. */
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { CodedError, Prng } from "@dejavm/base";
import { buildImage, imageSpec, type ResolvedImage } from "@dejavm/image";
import type { BootConfig } from "@dejavm/machine";
import { inspectDiskFile, VirtualMachine } from "@dejavm/vm";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { dejavm } from "../support/dejavm.ts";

let image: ResolvedImage | string = "not built";
let directory = "";
const inGuest = (command: string, ...options: string[]) =>
  dejavm(["run", ...options, "--exec", command]);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "dejavm-e2e-"));
  image = await buildImage(imageSpec()).then(
    (built) => built.image,
    (error: unknown) => {
      const outside = ["E_NO_NETWORK", "E_MIRROR_CHANGING", "E_TOOL_MISSING"];
      if (!(error instanceof CodedError && outside.includes(String(error.code)))) throw error;
      return error.message;
    },
  );
});
beforeEach((context) => {
  if (typeof image === "string") context.skip(`no Debian image: ${image}`);
});
afterAll(() => rmSync(directory, { recursive: true }));

describe("stock Debian", () => {
  test("programs of its packages run together", async () => {
    const commands = [
      "redis-server --daemonize yes --save '' >/dev/null",
      "until redis-cli ping >/dev/null 2>&1; do sleep 0.1; done",
      "redis-cli set answer 42; redis-cli get answer",
      "python3 -c 'import json; print(json.dumps({\"power\": 2**64}))'",
      "sqlite3 /root/a.db 'create table t(n); insert into t values (6),(7); select sum(n) from t'",
      "lighttpd -f /etc/lighttpd/lighttpd.conf",
      "until wget -q -O /root/page http://127.0.0.1/; do sleep 0.1; done; cat /root/page",
      "exit 7",
    ];
    const { status, stdout, stderr } = await inGuest(commands.join("; "));
    const page = readFileSync(
      new URL("../../packages/image/guest/root/var/www/html/index.html", import.meta.url),
      "utf8",
    );
    expect(stdout).toBe(`OK\n42\n{"power": 18446744073709551616}\n13\n${page}`);
    expect({ status, stderr }).toEqual({ status: 7, stderr: "" });
  });

  test.for([
    ["redis", "redis-server --version >/dev/null && echo ok"],
    ["python3", "python3 -c 'print(\"ok\")'"],
    ["sqlite3", "sqlite3 :memory: 'select \"ok\"'"],
  ])("%s runs in 96 MB", async ([, command]) => {
    const { status, stdout } = await inGuest(command ?? "", "--memory", "96M");
    expect({ status, stdout }).toEqual({ status: 0, stdout: "ok\n" });
  });

  test("a saved machine goes on with its processes, its disk and the date", async () => {
    const path = join(directory, "debian.snapshot");
    const begin = [
      "sleep 1000 & echo $! >/run/pid; echo kept >/root/kept",
      // The child is a shell until it has become what it runs.
      "until grep -q sleep /proc/$!/comm; do :; done",
    ];
    expect(await inGuest(begin.join("; "), "--save", path)).toMatchObject({ status: 0 });
    const goOn = "read -r pid </run/pid; cat /root/kept /proc/$pid/comm; date +%s";
    const { status, stdout } = await inGuest(goOn, "--from", path);
    const [kept, comm, date] = stdout.trim().split("\n");
    expect({ status, kept, comm }).toEqual({ status: 0, kept: "kept", comm: "sleep" });
    expect(Math.abs(Number(date) - Date.now() / 1000)).toBeLessThan(60);
    expect(readdirSync(directory)).toEqual(["debian.snapshot"]);
  });

  test("a disk of garbage is the guest's to refuse, and stays as it was", async () => {
    const garbage = new Prng(0xd15c).fill(new Uint8Array(2 ** 20));
    // It looks like ext4, and nothing in it is true.
    garbage.set([0x53, 0xef], 1080);
    const path = join(directory, "garbage.img");
    writeFileSync(path, garbage);
    const command = "mount /dev/vdb /mnt 2>/dev/null || echo refused; echo changed >/dev/vdb; sync";
    const { status, stdout } = await inGuest(command, "--disk", path);
    expect({ status, stdout }).toEqual({ status: 0, stdout: "refused\n" });
    expect(readFileSync(path).equals(garbage)).toBe(true);
    rmSync(path);
  });

  test("input and output of a command are whole, byte for byte", async () => {
    const bytes = Array.from({ length: 300_000 }, (_, i) => String.fromCharCode(97 + (i % 23)));
    const text = bytes.join("");
    const ended = await dejavm(["run", "--exec", "gzip | gunzip"], text);
    expect(ended.status).toBe(0);
    expect(ended.stdout === text).toBe(true);
  });

  test("a guest that ends before its command is told apart from one that succeeds", async () => {
    const { status, stderr } = await inGuest("poweroff; sleep 100");
    expect(status).toBe(1);
    expect(stderr).toContain("dejavm: E_GUEST_ENDED");
  });
});

describe("live machine", () => {
  /** The first line of each boot has it. */
  const BANNER = "Linux version ";

  /** Runs until the guest ends; `onShown` hears of the console, with all that it showed so far. */
  async function boot(onShown: (vm: VirtualMachine, shown: string) => void) {
    if (typeof image === "string") throw new Error(image);
    const { disk, kernel, initrd, manifest } = image;
    const disks = [inspectDiskFile(disk)];
    const linux: BootConfig = {
      kind: "linux",
      kernel: new Uint8Array(readFileSync(kernel)),
      initrd: new Uint8Array(readFileSync(initrd)),
      commandLine: `${manifest.commandLine} console=ttyS0`,
    };
    let shown = "";
    const vm = await VirtualMachine.start(
      {
        source: {
          kind: "create",
          config: {
            memoryBytes: 128 * 2 ** 20,
            boot: linux,
            disks: disks.map(({ sizeBytes }) => ({ sizeBytes, readOnly: false, serial: "root" })),
            net: undefined,
            entropySeed: new Uint8Array(32),
            wallTimeNs: BigInt(Date.now()) * 1_000_000n,
          },
        },
        disks,
        pace: "none",
        limit: undefined,
        digestAtEnd: false,
        restart: linux,
      },
      {
        onConsole: (_port, bytes) => {
          shown += Buffer.from(bytes).toString("latin1");
          onShown(vm, shown);
        },
      },
    );
    return { end: await vm.ended, shown };
  }

  test("its power button shuts the guest down in order", async () => {
    let prompts = 0;
    const { end, shown } = await boot((vm, text) => {
      // Until the guest listens nothing happens: press again at each prompt.
      const seen = text.split("root@dejavm:").length - 1;
      if (seen === prompts) return;
      prompts = seen;
      vm.pressPowerButton();
      vm.sendConsole("uart", Buffer.from("sleep 1\r"));
    });
    expect(end.reason).toEqual({ kind: "power-off", status: 0 });
    expect(shown).toContain("Requesting system poweroff");
  });

  test("a guest that reboots starts again with its disk", async () => {
    // What it does depends on the disk alone: typing it twice in one boot does no harm.
    const script =
      "[ -e /root/seen ] && echo seen it && poweroff; touch /root/seen; sync; reboot\r";
    const boots = (text: string) => text.split(BANNER).length - 1;
    let typed = 0;
    const { end, shown } = await boot((vm, text) => {
      if (boots(text) === typed || !text.includes("root@dejavm:", text.lastIndexOf(BANNER))) return;
      typed = boots(text);
      vm.sendConsole("uart", Buffer.from(script));
    });
    expect(end.reason).toEqual({ kind: "power-off", status: 0 });
    expect(boots(shown)).toBe(2);
    expect(shown).toMatch(/\nseen it\r/);
  });
});
