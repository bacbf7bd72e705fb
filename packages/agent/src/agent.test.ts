import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { connect } from "node:tls";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Agent } from "./agent.ts";
import { type AgentSettings, agentConfig } from "./config.ts";
import { infoSchema, invitationSchema, peerSchema } from "./control/api.ts";
import { ControlClient } from "./control/client.ts";
import { agentSocket } from "./control/discovery.ts";
import { loadIdentity } from "./identity/identity.ts";
import { parseToken } from "./pairing/token.ts";
import { dialPeer } from "./peer/dialer.ts";
import { atEnd, temporaryDirectory } from "./test-support/temporary.ts";

const QUIET = { debug() {}, info() {}, warn() {}, error() {} };

async function startAgent(name: string, settings: AgentSettings = {}) {
  const stateDir = settings.stateDir ?? temporaryDirectory();
  const listen = "127.0.0.1:0";
  const file = join(temporaryDirectory(), "agent.json");
  writeFileSync(file, "{}");
  const config = agentConfig({ name, listen, ...settings, stateDir }, file);
  const agent = await Agent.start(config, QUIET);
  atEnd(() => agent.close());
  return { agent, stateDir, client: new ControlClient(agentSocket(stateDir)) };
}

const invite = (client: ControlClient) =>
  client.ask({ method: "POST", path: "/v1/invitations", answer: invitationSchema });
const redeem = (client: ControlClient, address: string, token: string) =>
  client.ask({
    method: "POST",
    path: "/v1/pairings",
    body: { address, token },
    answer: peerSchema,
  });
const peersOf = async (client: ControlClient) => {
  const answer = z.object({ peers: z.array(peerSchema) });
  return (await client.ask({ method: "GET", path: "/v1/peers", answer })).peers;
};

describe("an agent", () => {
  test("says who it is, that it is well, and its figures", async () => {
    const { client, agent } = await startAgent("a", { metrics: "127.0.0.1:0" });
    expect(await client.ask({ method: "GET", path: "/v1/info", answer: infoSchema })).toEqual(
      agent.info,
    );
    expect(JSON.parse(await client.text("/healthz"))).toMatchObject({ status: "ok", vms: 0 });
    expect(await client.text("/metrics")).toContain('dejavm_vms{state="running"} 0');
  });

  test("[AG3] is the only one in its state directory", async () => {
    const { stateDir } = await startAgent("a");
    await expect(startAgent("b", { stateDir })).rejects.toMatchObject({ code: "E_AGENT_RUNNING" });
  });

  test("that cannot have its address is E_AGENT_LISTEN", async () => {
    const { agent } = await startAgent("a");
    await expect(startAgent("b", { listen: agent.info.listening ?? "" })).rejects.toMatchObject({
      code: "E_AGENT_LISTEN",
    });
  });
});

describe("pairing", () => {
  test("[AG2] makes both know each other by certificate, and links work afterwards", async () => {
    const a = await startAgent("a");
    const b = await startAgent("b");
    const { token, address } = await invite(a.client);
    expect(await redeem(b.client, address, token)).toMatchObject({ name: "a", address });
    const [knownByA] = await peersOf(a.client);
    expect(knownByA).toEqual({
      name: "b",
      fingerprint: b.agent.info.fingerprint,
      address: b.agent.info.listening,
    });
    const [knownByB = { name: "", fingerprint: "" }] = await peersOf(b.client);
    const options = { path: "/v1/none", maxMessageBytes: 1000 };
    const link = await dialPeer(loadIdentity(b.stateDir, "b"), knownByB, options);
    await once(link, "close");
  });

  test("[AG2] a token works once", async () => {
    const a = await startAgent("a");
    const { token, address } = await invite(a.client);
    await redeem((await startAgent("b")).client, address, token);
    const c = await startAgent("c");
    await expect(redeem(c.client, address, token)).rejects.toMatchObject({
      code: "E_PAIR_REFUSED",
    });
    expect(await peersOf(c.client)).toEqual([]);
    expect((await peersOf(a.client)).map(({ name }) => name)).toEqual(["b"]);
  });

  test("[AG2] with somebody who answers in an agent's place is E_PEER_CERTIFICATE", async () => {
    const [a, b, other] = [await startAgent("a"), await startAgent("b"), await startAgent("o")];
    const { token } = await invite(a.client);
    await expect(redeem(b.client, other.agent.info.listening ?? "", token)).rejects.toMatchObject({
      code: "E_PEER_CERTIFICATE",
    });
    expect(await peersOf(other.client)).toEqual([]);
  });

  test("[AG2] with itself is refused, a dead address unreachable, a bad token told", async () => {
    const { client } = await startAgent("a");
    const { token, address } = await invite(client);
    await expect(redeem(client, address, token)).rejects.toMatchObject({ code: "E_PAIR_REFUSED" });
    const b = await startAgent("b");
    await expect(redeem(b.client, "127.0.0.1:1", token)).rejects.toMatchObject({
      code: "E_PEER_UNREACHABLE",
    });
    await expect(redeem(b.client, address, "dvm-x")).rejects.toMatchObject({
      code: "E_PAIR_TOKEN",
    });
  });
});

describe("links", () => {
  test("[AG4] of agents that are not paired are turned away", async () => {
    const a = await startAgent("a");
    const stranger = loadIdentity(temporaryDirectory(), "x");
    const peer = {
      name: "a",
      fingerprint: a.agent.info.fingerprint ?? "",
      address: a.agent.info.listening ?? "",
    };
    await expect(
      dialPeer(stranger, peer, { path: "/v1/none", maxMessageBytes: 1000 }),
    ).rejects.toMatchObject({ code: "E_PEER_CERTIFICATE" });
    expect(await a.client.text("/metrics")).toContain(
      'dejavm_peer_connections_total{result="refused"} 1',
    );
  });

  test("[AG4] without a certificate nothing is answered but a refusal", async () => {
    const a = await startAgent("a");
    const { token, address } = await invite(a.client);
    const secret = Buffer.from(parseToken(token).secret).toString("hex");
    const port = Number(address.split(":")[1]);
    const socket = connect({ host: "127.0.0.1", port, rejectUnauthorized: false });
    await once(socket, "secureConnect");
    const body = JSON.stringify({ secret, name: "evil" });
    socket.end(
      `POST /v1/pair HTTP/1.1\r\nhost: a\r\nconnection: close\r\n` +
        `content-length: ${body.length}\r\n\r\n${body}`,
    );
    const parts: Buffer[] = [];
    for await (const part of socket) parts.push(part as Buffer);
    expect(Buffer.concat(parts).toString()).toContain("E_PEER_CERTIFICATE");
    expect(await peersOf(a.client)).toEqual([]);
  });
});
