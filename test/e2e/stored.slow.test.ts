/** Machines of the store that run nowhere: an agent brings them back, shows and forgets them. */
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
  Agent,
  agentConfig,
  agentSocket,
  ControlClient,
  findVms,
  infoSchema,
  invitationSchema,
  peerSchema,
  type VmSummary,
  vmSummarySchema,
} from "@dejavm/agent";
import { openLogStore } from "@dejavm/log-store";
import { afterEach, beforeEach, expect, test } from "vitest";
import { countOnce, keepBareVm } from "../support/bare-vm.ts";

const NAME = "web";
const PATH = `/v1/vms/${NAME}`;
const NOTHING = infoSchema.partial();
const QUIET = { debug() {}, info() {}, warn() {}, error() {} };

let stateDir = "";
let agent: Agent | undefined;
let client: ControlClient;

beforeEach(async () => {
  stateDir = mkdtempSync(join(tmpdir(), "dejavm-stored-"));
  client = new ControlClient(agentSocket(stateDir));
  await keepBareVm(stateDir, NAME);
  await startAgent();
});
afterEach(async () => {
  await agent?.close();
  rmSync(stateDir, { recursive: true });
});

async function startAgent(): Promise<void> {
  await agent?.close();
  agent = await agentNamed("a", stateDir, "none");
}

function agentNamed(name: string, directory: string, listen: string): Promise<Agent> {
  const file = join(directory, "agent.json");
  writeFileSync(file, "{}");
  return Agent.start(agentConfig({ name, listen, stateDir: directory }, file), QUIET);
}

const list = async (): Promise<VmSummary[]> =>
  (await findVms(stateDir)).map(({ summary }) => summary);
const start = (): Promise<VmSummary> =>
  client.ask({ method: "POST", path: `${PATH}/start`, answer: vmSummarySchema });
const stop = (): Promise<unknown> => {
  const body = { force: true, timeoutMs: 0 };
  return client.ask({ method: "POST", path: `${PATH}/stop`, body, answer: NOTHING });
};
const remove = (): Promise<unknown> =>
  client.ask({ method: "DELETE", path: PATH, answer: NOTHING });

test("[AG10] a machine of `run --name` becomes the agent's by `start`, and stays so", async () => {
  expect(await list()).toEqual([]);
  expect((await start()).state).toBe("running");
  expect(await countOnce(client, NAME, 0)).toBe(1);
  await expect(start()).rejects.toMatchObject({ code: "E_VM_STATE" });
  await startAgent();
  expect(await countOnce(client, NAME, 1)).toBe(2);
});

test("[AG10] one that was stopped before the agent is shown, started, removed", async () => {
  await start();
  await countOnce(client, NAME, 0);
  await stop();
  await startAgent();
  expect(await list()).toMatchObject([{ name: NAME, state: "stopped" }]);
  const path = `${PATH}/pause`;
  await expect(client.ask({ method: "POST", path, answer: NOTHING })).rejects.toMatchObject({
    code: "E_VM_STATE",
    hint: "bring it back: dejavm start web",
  });
  await start();
  expect(await countOnce(client, NAME, 1)).toBe(2);
  await stop();
  await startAgent();
  await remove();
  expect(await list()).toEqual([]);
  await agent?.close();
  agent = undefined;
  const store = openLogStore(join(stateDir, "store"));
  expect(store.lineages()).toEqual([]);
  store.close();
});

test("[AG10] one that cannot be brought back says why", async () => {
  await start();
  await agent?.close();
  agent = undefined;
  rmSync(join(stateDir, `${NAME}.firmware`));
  await startAgent();
  const [vm] = await list();
  expect(vm?.state).toBe("failed");
  expect(vm?.notes.join(" ")).toContain(`${NAME}.firmware`);
  await expect(start()).rejects.toMatchObject({ code: "E_VM_FILE_GONE" });
});

test("[AG10] what is not in the store, or is run by another process, is not started", async () => {
  const path = "/v1/vms/nobody/start";
  await expect(client.ask({ method: "POST", path, answer: vmSummarySchema })).rejects.toMatchObject(
    { code: "E_VM_UNKNOWN" },
  );
  const store = openLogStore(join(stateDir, "store"));
  const writer = store.openLineage(store.findLineage(NAME)?.id ?? ("none" as never));
  await expect(start()).rejects.toMatchObject({ code: "E_STORE_BUSY" });
  writer.release();
  store.close();
  await start();
});

test("[SO6] an offer found at start: the peer is asked, then the machine is back", async () => {
  await start();
  await countOnce(client, NAME, 0);
  const otherDir = mkdtempSync(join(tmpdir(), "dejavm-peer-"));
  const other = await agentNamed("b", otherDir, "127.0.0.1:0");
  const { token, address } = await new ControlClient(agentSocket(otherDir)).ask({
    method: "POST",
    path: "/v1/invitations",
    answer: invitationSchema,
  });
  const body = { token, address };
  await client.ask({ method: "POST", path: "/v1/pairings", body, answer: peerSchema });
  await agent?.close();
  agent = undefined;
  const store = openLogStore(join(stateDir, "store"));
  const writer = store.openLineage(store.findLineage(NAME)?.id ?? ("none" as never));
  const detail = JSON.stringify({ migration: "m" });
  writer.recordOwnership({ state: "offering", epoch: 2, peer: "b", detail });
  writer.release();
  store.close();
  await startAgent();
  const state = async (): Promise<string | undefined> => (await list())[0]?.state;
  await expect.poll(state, { timeout: 60_000 }).toBe("running");
  expect(await countOnce(client, NAME, 1)).toBe(2);
  await other.close();
  rmSync(otherDir, { recursive: true });
});
