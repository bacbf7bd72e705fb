/** Migrations that cannot be: each is refused by name, on both sides the machines go on. */
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "node:tls";
import { fileURLToPath } from "node:url";
import {
  infoSchema,
  type MigrationWish,
  runCommand,
  startMigration,
  type VmSummary,
  vmSummarySchema,
} from "@dejavm/agent";
import { AgentProcess, RigProcess } from "@dejavm/bench";
import { buildImage, imageSpec } from "@dejavm/image";
import { afterAll, beforeAll, expect, test } from "vitest";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
/** On both hosts there is a machine of this name; the other one is lima's alone. */
const TWIN = "twin";
const ALONE = "alone";

let folder = "";
let lima: AgentProcess;
let oslo: AgentProcess;
let rig: RigProcess;

const path = (name: string): string => `/v1/vms/${name}`;
const summary = (agent: AgentProcess, name: string): Promise<VmSummary> =>
  agent.client.ask({ method: "GET", path: path(name), answer: vmSummarySchema });
const create = async (agent: AgentProcess, name: string): Promise<void> => {
  const body = { name, image: "debian", memoryBytes: 96 * 2 ** 20 };
  await agent.client.ask({ method: "POST", path: "/v1/vms", body, answer: vmSummarySchema });
  await runCommand(agent.client, name, "true");
};

/** The code with which a migration is refused, before or after it has begun. */
async function refusal(name: string, wish: MigrationWish): Promise<unknown> {
  const { report } = await startMigration(lima.client, name, wish, () => undefined);
  return report.then(
    ({ outcome }) => (outcome.kind === "stayed" ? outcome.code : outcome.kind),
    (error: unknown) => (error instanceof Error && "code" in error ? error.code : error),
  );
}

async function runsOn(agent: AgentProcess, name: string): Promise<void> {
  expect((await summary(agent, name)).state).toBe("running");
  expect(await runCommand(agent.client, name, "echo here")).toMatchObject({ output: "here\n" });
}

beforeAll(async () => {
  await buildImage(imageSpec());
  process.argv[1] = MAIN;
  folder = mkdtempSync(join(tmpdir(), "dejavm-refusals-"));
  lima = await AgentProcess.start("lima", folder);
  oslo = await AgentProcess.start("oslo", folder);
  rig = await RigProcess.start("continental", await oslo.address(), folder);
  await lima.pairWith(oslo, rig.address);
  await create(lima, TWIN);
  await create(oslo, TWIN);
  await create(lima, ALONE);
});

afterAll(async () => {
  await Promise.all([lima?.close(), oslo?.close(), rig?.close()]);
  rmSync(folder, { recursive: true });
});

test("[AG6] to a host that has a machine of that name", async () => {
  expect(await refusal(TWIN, { to: "oslo" })).toBe("E_VM_EXISTS");
  await runsOn(lima, TWIN);
  await runsOn(oslo, TWIN);
});

test("[AG6] to nobody that is known, such as itself", async () => {
  expect(await refusal(ALONE, { to: "lima" })).toBe("E_PEER_UNKNOWN");
  expect(await refusal(ALONE, { to: "bergen" })).toBe("E_PEER_UNKNOWN");
  await runsOn(lima, ALONE);
});

test("[AG6] while it moves already: the first one goes on", async () => {
  const wish = { to: "oslo", dryRun: true };
  const first = await startMigration(lima.client, ALONE, wish, () => undefined);
  await expect.poll(async () => (await summary(lima, ALONE)).state).toBe("migrating");
  expect(await refusal(ALONE, { to: "oslo" })).toBe("E_VM_STATE");
  expect((await first.report).outcome.kind).toBe("rehearsed");
  await runsOn(lima, ALONE);
});

test("[AG6] to a host that does not know the one that dials any more", async () => {
  const answer = infoSchema.partial();
  await oslo.client.ask({ method: "DELETE", path: "/v1/peers/lima", answer });
  expect(await refusal(ALONE, { to: "oslo" })).toBe("E_PEER_CERTIFICATE");
  await lima.pairWith(oslo, rig.address);
  await runsOn(lima, ALONE);
});

test("[AG4] garbage and strangers at the door change nothing", async () => {
  const [host = "", port] = (await oslo.address()).split(":");
  for (let i = 0; i < 20; i++) {
    const socket = connect({ host, port: Number(port), rejectUnauthorized: false });
    socket.on("error", () => undefined);
    await new Promise((resolve) => {
      socket.once("secureConnect", () => {
        const said = i % 2 === 0 ? "GET /v1/migration HTTP/1.1\r\n\r\n" : Buffer.alloc(65_536, i);
        socket.write(said, () => socket.destroy());
      });
      socket.once("close", resolve);
    });
  }
  expect(readFileSync(join(folder, "oslo/log"), "utf8")).not.toContain('"level":60');
  await runsOn(oslo, TWIN);
});

test("[AG6] it can still move afterwards", async () => {
  expect(await refusal(ALONE, { to: "oslo" })).toBe("moved");
  await expect.poll(() => summary(oslo, ALONE).then(({ state }) => state, String)).toBe("running");
  await runsOn(oslo, ALONE);
});
