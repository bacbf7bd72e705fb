/** Migrations that cannot be: each is refused by name, on both sides the machines go on. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { infoSchema, type MigrationWish, startMigration } from "@dejavm/agent";
import { buildImage, imageSpec } from "@dejavm/image";
import { afterAll, beforeAll, expect, test } from "vitest";
import { AgentPair, type Side } from "../support/agent-pair.ts";

/** On both hosts there is a machine of this name; the other one is lima's alone. */
const TWIN = "twin";
const ALONE = "alone";
const SMALL = { memoryBytes: 96 * 2 ** 20 };

let pair: AgentPair;

/** The code with which a migration is refused, before or after it has begun. */
async function refusal(name: string, wish: MigrationWish): Promise<unknown> {
  const { client } = pair.agent("lima");
  const { report } = await startMigration(client, name, wish, () => undefined);
  return report.then(
    ({ outcome }) => (outcome.kind === "stayed" ? outcome.code : outcome.kind),
    (error: unknown) => (error instanceof Error && "code" in error ? error.code : error),
  );
}

async function runsOn(side: Side, name: string): Promise<void> {
  expect(await pair.state(side, name)).toBe("running");
  expect(await pair.run(side, "echo here", name)).toBe("here");
}

beforeAll(async () => {
  await buildImage(imageSpec());
  pair = await AgentPair.start("continental", "none");
  await pair.createDebian("lima", TWIN, SMALL);
  await pair.createDebian("oslo", TWIN, SMALL);
  await pair.createDebian("lima", ALONE, SMALL);
});
afterAll(() => pair?.close());

test("[AG6] to a host that has a machine of that name", async () => {
  expect(await refusal(TWIN, { to: "oslo" })).toBe("E_VM_EXISTS");
  await runsOn("lima", TWIN);
  await runsOn("oslo", TWIN);
});

test("[AG6] to nobody that is known, such as itself", async () => {
  expect(await refusal(ALONE, { to: "lima" })).toBe("E_PEER_UNKNOWN");
  expect(await refusal(ALONE, { to: "bergen" })).toBe("E_PEER_UNKNOWN");
  await runsOn("lima", ALONE);
});

test("[AG6] while it moves already: the first one goes on", async () => {
  const wish = { to: "oslo", dryRun: true };
  const { client } = pair.agent("lima");
  const first = await startMigration(client, ALONE, wish, () => undefined);
  await expect.poll(() => pair.state("lima", ALONE)).toBe("migrating");
  expect(await refusal(ALONE, { to: "oslo" })).toBe("E_VM_STATE");
  expect((await first.report).outcome.kind).toBe("rehearsed");
  await runsOn("lima", ALONE);
});

test("[AG6] to a host that does not know the one that dials any more", async () => {
  const answer = infoSchema.partial();
  const [lima, oslo] = [pair.agent("lima"), pair.agent("oslo")];
  await oslo.client.ask({ method: "DELETE", path: "/v1/peers/lima", answer });
  expect(await refusal(ALONE, { to: "oslo" })).toBe("E_PEER_CERTIFICATE");
  await lima.pairWith(oslo, pair.rig("oslo").address);
  await runsOn("lima", ALONE);
});

test("[AG4] garbage and strangers at the door change nothing", async () => {
  const [host = "", port] = (await pair.agent("oslo").address()).split(":");
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
  expect(readFileSync(join(pair.stateDir("oslo"), "log"), "utf8")).not.toContain('"level":60');
  await runsOn("oslo", TWIN);
});

test("[AG6] it can still move afterwards", async () => {
  expect(await refusal(ALONE, { to: "oslo" })).toBe("moved");
  await expect.poll(() => pair.state("oslo", ALONE)).toBe("running");
  await runsOn("oslo", ALONE);
});
