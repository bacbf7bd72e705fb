/**
 * `dejavm demo`: boots Debian, works in it, saves it, goes on from the snapshot. Every step says
 * what it shows; the first that does not hold ends the demo with E_DEMO_FAILED.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { GuestExec } from "@dejavm/agent";
import { CodedError } from "@dejavm/base";
import { buildImage, imageSpec } from "@dejavm/image";
import { type StartSpec, VirtualMachine } from "@dejavm/vm";
import { exitStatus } from "../exit-status.ts";
import { imageProgress } from "../progress.ts";
import { planRun } from "../run/plan.ts";

/** Positions that the repeated run takes: part of a second of guest work. */
const REPEATED_POSITIONS = 50_000_000n;

/** Gives the exit status 0; throws where something does not hold. */
export async function demo(): Promise<number> {
  const directory = await mkdtemp(join(tmpdir(), "dejavm-demo-"));
  try {
    await showAll(directory);
    return exitStatus.ok;
  } finally {
    await rm(directory, { recursive: true, force: true });
  }
}

async function showAll(directory: string): Promise<void> {
  await buildDefaultImage();
  const plan = await planRun(undefined, { disk: [] });
  const snapshot = join(directory, "debian.snapshot");

  say("1. Stock Debian boots on the deterministic machine");
  const startedAt = performance.now();
  const first = await Guest.start(plan.spec);
  say(`   ready after ${((performance.now() - startedAt) / 1000).toFixed(1)} s`);
  await first.check("uname -sm", /^Linux riscv64$/);

  say("2. Programs from Debian's packages run in it");
  await first.check(
    "redis-server --daemonize yes --save '' >/dev/null; sleep 1; redis-cli ping",
    /PONG/,
  );
  await first.check("redis-cli set deja vu", /^OK$/);
  await first.check("python3 -c 'print(2**100)'", /^1267650600228229401496703205376$/);
  await first.check(
    "sqlite3 :memory: 'select sum(value) from generate_series(1,1000)'",
    /^500500$/,
  );

  say("3. The whole machine is saved to a file, and ends");
  const saved = await first.vm.save({ path: snapshot, image: plan.image, thenStop: true });
  first.close();
  say(`   position ${saved.position}, ${(saved.fileBytes / 2 ** 20).toFixed(1)} MiB`);
  say(`   digest   ${saved.digest}`);

  const { spec } = await planRun(undefined, { disk: [], from: snapshot });
  say("4. From that file, the same run twice comes to the same state, bit for bit");
  const limit = saved.position + REPEATED_POSITIONS;
  const digests = [await runTo(spec, limit), await runTo(spec, limit)];
  for (const digest of digests) say(`   digest   ${digest} at position ${limit}`);
  hold(digests[0] === digests[1], "two runs from one snapshot came to different states");

  say("5. The saved machine goes on where it was: Redis still has its key");
  const second = await Guest.start(spec);
  const { position, digest } = await second.vm.origin;
  say(`   position ${position}`);
  say(`   digest   ${digest}`);
  hold(position === saved.position && digest === saved.digest, "the restored machine differs");
  await second.check("redis-cli get deja", /^vu$/);
  await second.vm.stop();
  second.close();
  say("All of it holds.");
}

async function buildDefaultImage(): Promise<void> {
  const progress = imageProgress(process.stderr);
  try {
    await buildImage(imageSpec(), progress.show);
  } finally {
    progress.done();
  }
}

/** Runs without the wall's clock to a position; gives the digest there. */
async function runTo(spec: StartSpec, limit: bigint): Promise<string> {
  const atLimit = Promise.withResolvers<void>();
  const vm = await VirtualMachine.start(
    { ...spec, pace: "none", limit },
    { onConsole: () => undefined, onLimit: () => atLimit.resolve() },
  );
  vm.ended.then(() => atLimit.resolve(), atLimit.reject);
  await atLimit.promise;
  const { digest } = await vm.digest();
  await vm.stop();
  return digest;
}

/** A machine with an agent that runs commands. */
class Guest {
  readonly vm: VirtualMachine;
  readonly #exec: GuestExec;

  private constructor(vm: VirtualMachine, exec: GuestExec) {
    this.vm = vm;
    this.#exec = exec;
  }

  static async start(spec: StartSpec): Promise<Guest> {
    const exec = new GuestExec();
    const vm = await VirtualMachine.start(spec, {
      onConsole: (port, bytes) => (port === "agent" ? exec.receive(bytes) : undefined),
      onConsoleTaken: (port, bytes) => {
        if (port === "agent") exec.taken(bytes);
      },
    });
    vm.ended.then(
      () => exec.fail(ended()),
      (error: Error) => exec.fail(error),
    );
    exec.attach(vm);
    await exec.ready;
    return new Guest(vm, exec);
  }

  /** Runs a command, shows it, and wants status 0 and output like `expected`. */
  async check(command: string, expected: RegExp): Promise<void> {
    const output: Uint8Array[] = [];
    const keep = (bytes: Uint8Array): void => {
      output.push(bytes);
    };
    const running = this.#exec.run(command, { stdout: keep, stderr: keep });
    running.stdin(undefined);
    const status = await running.status;
    const text = Buffer.concat(output).toString("utf8").trim();
    say(`   # ${command}`);
    say(`   ${text.split("\n").join("\n   ")}`);
    hold(status === 0 && expected.test(text), `'${command}' ended with ${status}: ${text}`);
  }

  close(): void {
    this.#exec.close();
  }
}

function say(line: string): void {
  process.stdout.write(`${line}\n`);
}

function hold(condition: boolean, what: string): void {
  if (condition) return;
  throw new CodedError("E_DEMO_FAILED", `the demo does not hold: ${what.split("\n")[0]}`, {
    hint: "report it with the output above",
  });
}

function ended(): CodedError {
  return new CodedError("E_GUEST_ENDED", "the guest ended before the demo did", {
    hint: "'dejavm run' shows its console",
  });
}
