import { once } from "node:events";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { openLogStore } from "@dejavm/log-store";
import { describe, expect, test } from "vitest";
import type { WebSocket } from "ws";
import { z } from "zod";
import { agentError } from "../errors.ts";
import { prepareStateDirectory, storeDirectory } from "../state-dir.ts";
import { FakeMachine, fakeVm } from "../test-support/fake-machine.ts";
import { atEnd, temporaryDirectory } from "../test-support/temporary.ts";
import type { RunningVm } from "../vm/running-vm.ts";
import { portsSchema, vmSummarySchema } from "./api.ts";
import { ControlClient } from "./client.ts";
import { findVmNamed, findVms, runSocket } from "./discovery.ts";
import { ControlServer } from "./server.ts";
import { startCommand } from "./vm-client.ts";
import { vmRoutes, vmStreams } from "./vm-routes.ts";

const RUNS_ON = "dejavm start web, or run --name web, goes on with it; log rm removes it";
const NEVER_RUNS = "a copy never runs: dejavm replay web, or fork web";

const servers: ControlServer[] = [];

async function serve(stateDir: string, ...vms: readonly RunningVm[]): Promise<ControlClient> {
  prepareStateDirectory(stateDir);
  const socketPath = runSocket(stateDir, vms[0]?.name ?? "none");
  const directory = { list: () => vms, remove: () => Promise.resolve() };
  const server = await ControlServer.listen({
    socketPath,
    routes: [
      ...vmRoutes(directory),
      { method: "GET", path: "/broken", handle: () => JSON.parse("{") as unknown },
    ],
    streams: vmStreams(directory),
    onDefect: () => undefined,
  });
  servers.push(server);
  atEnd(() => server.close());
  return new ControlClient(socketPath);
}

const nothing = z.object({});
const post = (path: string, body?: object) =>
  ({ method: "POST", path, answer: nothing, ...(body === undefined ? {} : { body }) }) as const;

async function messages(stream: WebSocket, count: number): Promise<Buffer[]> {
  const seen: Buffer[] = [];
  const done = Promise.withResolvers<void>();
  stream.on("message", (data: Buffer) => {
    seen.push(data);
    if (seen.length === count) done.resolve();
  });
  await done.promise;
  return seen;
}

describe("machines at a control socket", () => {
  test("[AG1] are found by name at any socket; dead sockets are passed over", async () => {
    const stateDir = temporaryDirectory();
    await serve(stateDir, fakeVm("web"));
    await serve(stateDir, fakeVm("a"), fakeVm("db"));
    // As a killed process leaves it: a file that nobody listens at.
    writeFileSync(runSocket(stateDir, "dead"), "");
    const found = await findVms(stateDir);
    expect(found.map(({ summary }) => summary.name)).toEqual(["a", "db", "web"]);
    const { client } = await findVmNamed(stateDir, "db");
    const answer = vmSummarySchema;
    const summary = await client.ask({ method: "GET", path: "/v1/vms/db", answer });
    expect(summary).toMatchObject({ name: "db", state: "running", memoryBytes: 2 ** 28 });
    await expect(findVmNamed(stateDir, "nope")).rejects.toMatchObject({ code: "E_VM_UNKNOWN" });
  });

  test("[AG1] one that is in the store and runs nowhere is told apart", async () => {
    const stateDir = temporaryDirectory();
    const store = openLogStore(storeDirectory(stateDir));
    const nothing = { config: new Uint8Array(0), fingerprint: new Uint8Array(0) };
    const writer = store.openLineage(store.createLineage({ name: "web", ...nothing }).id);
    const record = { peer: "", detail: "" };
    writer.recordOwnership({ ...record, epoch: 1, state: "live" });
    const refusal = (): Promise<unknown> =>
      findVmNamed(stateDir, "web").catch((error: unknown) => error);
    expect(await refusal()).toMatchObject({ code: "E_VM_STATE", hint: RUNS_ON });
    writer.recordOwnership({ ...record, epoch: 1, state: "copy" });
    expect(await refusal()).toMatchObject({ code: "E_VM_STATE", hint: NEVER_RUNS });
    store.close();
  });

  test("[AG3] a socket is its owner's alone, and one that is served is not taken", async () => {
    const stateDir = temporaryDirectory();
    const client = await serve(stateDir, fakeVm("web"));
    expect(statSync(client.socketPath).mode & 0o777).toBe(0o600);
    expect(statSync(join(stateDir, "run")).mode & 0o777).toBe(0o700);
    await expect(serve(stateDir, fakeVm("web"))).rejects.toMatchObject({ code: "E_AGENT_RUNNING" });
  });

  test("[AG3] a socket that a killed process left is taken over", async () => {
    const stateDir = temporaryDirectory();
    prepareStateDirectory(stateDir);
    writeFileSync(runSocket(stateDir, "web"), "");
    await serve(stateDir, fakeVm("web"));
    expect(await findVms(stateDir)).toHaveLength(1);
  });

  test("errors arrive as what they were", async () => {
    const client = await serve(temporaryDirectory(), fakeVm("web"));
    await expect(client.ask(post("/v1/vms/other/stop"))).rejects.toMatchObject({
      code: "E_VM_UNKNOWN",
      hint: expect.any(String) as string,
    });
    await expect(client.ask(post("/v1/vms/web/stop", { force: 3 }))).rejects.toMatchObject({
      code: "E_AGENT_PROTOCOL",
    });
    await expect(client.ask(post("/v1/nothing"))).rejects.toMatchObject({
      code: "E_AGENT_PROTOCOL",
    });
    await expect(
      client.ask({ method: "GET", path: "/broken", answer: nothing }),
    ).rejects.toMatchObject({ code: "E_INTERNAL" });
    const absent = new ControlClient(join(temporaryDirectory(), "none.sock"));
    await expect(absent.ask(post("/v1/vms"))).rejects.toMatchObject({ code: "E_AGENT_ABSENT" });
  });

  test("stop asks the guest, and does not wait for ever", async () => {
    const machine = new FakeMachine();
    machine.obeys = false;
    const client = await serve(temporaryDirectory(), fakeVm("web", machine));
    await client.ask(post("/v1/vms/web/stop", { timeoutMs: 1 }));
    expect(machine.powerButtons).toBe(1);
    const answer = vmSummarySchema;
    expect(await client.ask({ method: "GET", path: "/v1/vms/web", answer })).toMatchObject({
      state: "stopped",
    });
    // Stopping what has ended is no error.
    await client.ask(post("/v1/vms/web/stop"));
  });

  test("pause and resume, each only where it makes sense", async () => {
    const client = await serve(temporaryDirectory(), fakeVm("web"));
    const state = { code: "E_VM_STATE" };
    await expect(client.ask(post("/v1/vms/web/resume"))).rejects.toMatchObject(state);
    await client.ask(post("/v1/vms/web/pause"));
    const answer = vmSummarySchema;
    const paused = await client.ask({ method: "GET", path: "/v1/vms/web", answer });
    expect(paused.state).toBe("paused");
    await expect(client.ask(post("/v1/vms/web/pause"))).rejects.toMatchObject(state);
    await client.ask(post("/v1/vms/web/resume"));
    await client.ask(post("/v1/vms/web/stop"));
    await expect(client.ask(post("/v1/vms/web/pause"))).rejects.toMatchObject(state);
  });

  test("a request under way is answered though the server closes", async () => {
    const machine = new FakeMachine();
    machine.obeys = false;
    const stateDir = temporaryDirectory();
    const client = await serve(stateDir, fakeVm("web", machine));
    const stopped = client.ask(post("/v1/vms/web/stop"));
    await expect.poll(() => machine.powerButtons).toBe(1);
    const closed = servers.at(-1)?.close();
    await machine.stop();
    expect(await stopped).toEqual({});
    await closed;
  });

  test("a machine that failed says why", async () => {
    const machine = new FakeMachine();
    const vm = fakeVm("web", machine);
    machine.fail(new Error("the worker is gone"));
    await Promise.resolve();
    expect(vm.summary()).toMatchObject({ state: "failed", notes: ["the worker is gone"] });
  });

  test("ports need a network, and are changed while it runs", async () => {
    const bare = await serve(temporaryDirectory(), fakeVm("web"));
    await expect(bare.ask(post("/v1/vms/web/ports", { forward: "80:80" }))).rejects.toMatchObject({
      code: "E_VM_NO_NETWORK",
    });
    const open = new Set<string>();
    const client = await serve(
      temporaryDirectory(),
      fakeVm("web", new FakeMachine(), {
        get forwards() {
          return [...open];
        },
        add(text) {
          if (text === "1:1") throw agentError("E_VM_STATE", "taken");
          open.add(text);
          return Promise.resolve();
        },
        remove: (text) => open.delete(text),
      }),
    );
    const path = "/v1/vms/web/ports";
    const ask = (method: "POST" | "DELETE", forward: string) =>
      client.ask({ method, path, body: { forward }, answer: portsSchema });
    expect(await ask("POST", "80:80")).toEqual({ forwards: ["80:80"] });
    await expect(ask("POST", "1:1")).rejects.toMatchObject({ code: "E_VM_STATE" });
    expect(await ask("DELETE", "80:80")).toEqual({ forwards: [] });
    await expect(ask("DELETE", "80:80")).rejects.toMatchObject({ code: "E_VM_STATE" });
  });
});

describe("a console", () => {
  test("shows what was said and what is said, and takes what is typed", async () => {
    const machine = new FakeMachine();
    const vm = fakeVm("web", machine);
    const client = await serve(temporaryDirectory(), vm);
    void vm.output("uart", Buffer.from("login: "));
    const stream = await client.stream("/v1/vms/web/console");
    const [first] = await messages(stream, 1);
    expect(first?.toString()).toBe("login: ");
    expect(vm.summary().consoles).toBe(1);
    void vm.output("uart", Buffer.from("welcome"));
    expect((await messages(stream, 1))[0]?.toString()).toBe("welcome");
    stream.send(Buffer.from("root\n"));
    await expect.poll(() => machine.sent).toEqual([{ port: "uart", text: "root\n" }]);
    stream.close();
    await expect.poll(() => vm.summary().consoles).toBe(0);
  });

  test("of nobody is E_AGENT_ABSENT", async () => {
    const client = new ControlClient(join(temporaryDirectory(), "nobody.sock"));
    await expect(client.stream("/v1/vms/web/console")).rejects.toMatchObject({
      code: "E_AGENT_ABSENT",
    });
  });

  test("hears what was said before it could listen", async () => {
    const client = await serve(temporaryDirectory(), fakeVm("web"));
    const command = await startCommand(client, "other", "true", () => undefined);
    await expect(command.status).rejects.toMatchObject({ code: "E_VM_UNKNOWN" });
  });

  test("of a machine that is not there says so and closes", async () => {
    const client = await serve(temporaryDirectory(), fakeVm("web"));
    const stream = await client.stream("/v1/vms/other/console");
    const [told] = await messages(stream, 1);
    expect(JSON.parse(String(told))).toMatchObject({ error: { code: "E_VM_UNKNOWN" } });
    await once(stream, "close");
  });

  test("exec of a guest that ends is E_GUEST_ENDED", async () => {
    const machine = new FakeMachine();
    const client = await serve(temporaryDirectory(), fakeVm("web", machine));
    const stream = await client.stream("/v1/vms/web/exec");
    stream.send(JSON.stringify({ command: "true" }), { binary: false });
    await expect.poll(() => machine.sent.length).toBeGreaterThan(0);
    const told = messages(stream, 1);
    await machine.stop();
    expect(JSON.parse(String((await told)[0]))).toMatchObject({
      error: { code: "E_GUEST_ENDED" },
    });
  });
});
