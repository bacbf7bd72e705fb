/** A machine moves to a host that has none of the files that it is made of. */
import { mkdirSync, mkdtempSync, readdirSync, rmSync, symlinkSync } from "node:fs";
import { homedir, tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { runCommand, startMigration, vmSummarySchema } from "@dejavm/agent";
import { AgentProcess } from "@dejavm/bench";
import { buildImage, imageSpec } from "@dejavm/image";
import { expect, onTestFinished, test } from "vitest";

const MAIN = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));
const NAME = "web";

test("[AG8] a machine moves to a host without its image, and is brought back there", async () => {
  await buildImage(imageSpec());
  process.argv[1] = MAIN;
  const folder = mkdtempSync(join(tmpdir(), "dejavm-files-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const agents: AgentProcess[] = [];
  onTestFinished(async () => {
    for (const agent of agents) await agent.close();
  });
  const cacheHome = process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache");
  // What is a path for one of these processes is none for the other.
  for (const side of ["lima", "oslo"]) mkdirSync(join(folder, `${side}-home`));
  symlinkSync(cacheHome, join(folder, "lima-home/cache"));
  const start = async (side: string): Promise<AgentProcess> => {
    const env = { XDG_CACHE_HOME: "/proc/self/cwd/cache" };
    const options = { env, cwd: join(folder, `${side}-home`) };
    const agent = await AgentProcess.start(side, folder, options);
    agents.push(agent);
    return agent;
  };
  const lima = await start("lima");
  let oslo = await start("oslo");
  await lima.pairWith(oslo, await oslo.address());
  const body = { name: NAME, image: "debian", memoryBytes: 128 * 2 ** 20 };
  const { client } = lima;
  await client.ask({ method: "POST", path: "/v1/vms", body, answer: vmSummarySchema });
  await runCommand(client, NAME, "echo kept >/root/mark; sync");

  const phases = new Set<string>();
  const note = ({ phase }: { readonly phase: string }): void => void phases.add(phase);
  const { report } = await startMigration(client, NAME, { to: "oslo" }, note);
  expect((await report).outcome).toEqual({ kind: "moved", epoch: 2 });
  expect(phases).toContain("files");
  expect(readdirSync(join(folder, "oslo/files")).length).toBe(3);

  const state = async (): Promise<string> => {
    const path = `/v1/vms/${NAME}`;
    const asked = oslo.client.ask({ method: "GET", path, answer: vmSummarySchema });
    return asked.then((summary) => summary.state, String);
  };
  await expect.poll(state, { timeout: 60_000 }).toBe("running");
  await oslo.kill();
  oslo = await start("oslo");
  await expect.poll(state, { timeout: 120_000 }).toBe("running");
  expect((await runCommand(oslo.client, NAME, "cat /root/mark")).output).toBe("kept\n");
});
