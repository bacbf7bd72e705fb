/**
 * `dejavm demo`: two agents in processes of their own, a wide-area path between them, Debian with
 * redis under a live client. The machine moves while it works, and the demo proves that nothing
 * was lost. Ends with status 0 only if all of that holds.
 */
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  agentSocket,
  ControlClient,
  runCommand,
  type VmSummary,
  vmSummarySchema,
} from "@dejavm/agent";
import { CodedError } from "@dejavm/base";
import { AgentProcess, RedisClient, type RedisReport, RigProcess } from "@dejavm/bench";
import { buildImage, imageSpec } from "@dejavm/image";
import type { MigrationReport } from "@dejavm/source-agent";
import { followMigration } from "../agent/migrate-command.ts";
import { reportText } from "../agent/migration-text.ts";
import { exitStatus } from "../exit-status.ts";
import { imageProgress } from "../progress.ts";

/** Options as commander gives them. */
export interface DemoOptions {
  /** Leave agents and machine running until Ctrl-C. */
  readonly keep?: boolean;
  readonly profile: string;
}

const NAME = "demo";
const MEMORY_BYTES = 256 * 2 ** 20;
const LOAD = { keyCount: 2000, valueBytes: 1024, operationsPerSecond: 300, seed: 1 };
const START_REDIS =
  "redis-server --save '' --appendonly no --protected-mode no --daemonize yes --dir /tmp " +
  ">/dev/null";
/** The client works so long before and after the move. */
const BEFORE_MS = 3000;
const AFTER_MS = 3000;

/** Gives the exit status. Throws E_DEMO_FAILED where something does not hold. */
export async function migrationDemo(options: DemoOptions): Promise<number> {
  await buildDefaultImage();
  const folder = mkdtempSync(join(tmpdir(), "dejavm-demo-"));
  const closers: (() => unknown)[] = [() => rmSync(folder, { recursive: true, force: true })];
  try {
    await demonstrate(folder, options, closers);
  } finally {
    for (const close of closers.reverse()) await close();
  }
  return exitStatus.ok;
}

async function demonstrate(
  folder: string,
  { profile, keep }: DemoOptions,
  closers: (() => unknown)[],
): Promise<void> {
  say(`1. Two agents, and a path between them: ${profile}`);
  const lima = await AgentProcess.start("lima", folder);
  closers.push(() => lima.close());
  const oslo = await AgentProcess.start("oslo", folder);
  closers.push(() => oslo.close());
  const rig = await RigProcess.start(profile, await oslo.address(), folder);
  closers.push(() => rig.close());
  await lima.pairWith(oslo, rig.address);
  say("   lima and oslo are paired");

  say("2. Debian on lima, with redis in it and a client that checks every answer");
  const port = await startMachine(lima);
  const client = await RedisClient.start({ host: "127.0.0.1", port, ...LOAD });
  closers.push(() => client.close());
  client.work();
  await sleep(BEFORE_MS);
  say(`   ${client.report.acknowledged} writes acknowledged so far`);

  say("3. It moves to oslo; the client goes on");
  const report = await followMigration(lima.client, NAME, { to: "oslo" }, process.stderr);
  process.stdout.write(indented(reportText(report)));
  await sleep(AFTER_MS);
  await client.stop();

  say("4. What the client has seen");
  const there = await summaryOf(oslo);
  const lost = await lostWrites(client, portOf(there));
  tell(client.report, lost, report);
  prove(client.report, lost, report, there);
  say("All of it holds.");
  if (keep === true) await stay(lima, oslo, there);
}

async function startMachine(agent: AgentProcess): Promise<number> {
  const started = await agent.client.ask({
    method: "POST",
    path: "/v1/vms",
    body: {
      name: NAME,
      image: "debian",
      memoryBytes: MEMORY_BYTES,
      forwards: ["0:6379"],
    },
    answer: vmSummarySchema,
  });
  const { status, output } = await runCommand(agent.client, NAME, `uname -sr; ${START_REDIS}`);
  hold(status === 0, `redis did not start: ${output}`);
  say(`   ${output.trim()}, redis at 127.0.0.1:${portOf(started)}`);
  return portOf(started);
}

interface Lost {
  readonly sameConnection: number;
  readonly newConnection: number;
}

/** Reads every key back: through the connection from before, and through a new one over there. */
async function lostWrites(client: RedisClient, newPort: number): Promise<Lost> {
  const { connected } = client.report;
  return {
    sameConnection: connected ? await client.lost("same-connection") : LOAD.keyCount,
    newConnection: await client.lost("new-connection", newPort),
  };
}

function tell(seen: RedisReport, lost: Lost, report: MigrationReport): void {
  const { acknowledged, connected, longestMs, wrong } = seen;
  say(`   writes acknowledged   ${acknowledged}`);
  say(`   lost                  ${lost.sameConnection} by its own connection`);
  say(`                         ${lost.newConnection} by a new one to oslo`);
  say(`   wrong answers         ${wrong}`);
  say(`   connection kept       ${connected ? "yes" : `no: ${seen.problem}`}`);
  say(`   longest wait          ${longestMs.toFixed(0)} ms`);
  say(`   pause of the machine  ${report.downtime?.totalMs.toFixed(1) ?? "?"} ms`);
  say(`   digests               equal at the hand-over: ${report.digestAtCutover ?? "none"}`);
}

function prove(seen: RedisReport, lost: Lost, report: MigrationReport, there: VmSummary): void {
  hold(report.outcome.kind === "moved", "the machine has not moved");
  hold(there.state === "running", `on oslo it is ${there.state}`);
  hold(lost.sameConnection === 0 && lost.newConnection === 0, "acknowledged writes were lost");
  hold(seen.wrong === 0, "answers were wrong");
  hold(seen.connected, "the client's connection was lost");
  hold(report.digestAtCutover !== undefined, "nothing was compared at the hand-over");
}

async function stay(lima: AgentProcess, oslo: AgentProcess, vm: VmSummary): Promise<void> {
  say(`It stays until Ctrl-C. On oslo: ${vm.forwards.join(", ")}. Try, in another terminal:`);
  say(`   dejavm ps --state-dir ${oslo.stateDir}`);
  say(`   dejavm console ${NAME} --state-dir ${oslo.stateDir}`);
  say(`   dejavm migrations ls --state-dir ${lima.stateDir}`);
  await new Promise<void>((resolve) => {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => resolve());
  });
}

async function summaryOf(agent: AgentProcess): Promise<VmSummary> {
  const client = new ControlClient(agentSocket(agent.stateDir));
  return client.ask({ method: "GET", path: `/v1/vms/${NAME}`, answer: vmSummarySchema });
}

/** The port of the host that leads to redis. */
function portOf({ forwards }: VmSummary): number {
  const [forward = ""] = forwards;
  return Number(forward.split(":")[1]);
}

async function buildDefaultImage(): Promise<void> {
  const progress = imageProgress(process.stderr);
  try {
    await buildImage(imageSpec(), progress.show);
  } finally {
    progress.done();
  }
}

function indented(text: string): string {
  return text.replaceAll(/^/gm, "   ").trimEnd().concat("\n");
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
