import { mkdtempSync, writeFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { Agent, agentConfig, agentSocket, ControlClient, vmSummarySchema } from "@dejavm/agent";
import { RedisClient } from "@dejavm/bench";
import { SwitchedNetwork, TunnelSource } from "@dejavm/gateway";
import { runCommand } from "./agent/console-command.ts";
import { followMigration } from "./agent/migrate-command.ts";

writeFileSync("/tmp/empty.json", "{}");
const P: any = SwitchedNetwork.prototype;
const orig = P.sendFrame;
let n = 0,
  tun = 0;
P.sendFrame = function (f: any) {
  n++;
  const r = orig.call(this, f);
  return r;
};
const oa = P.receive;
P.receive = function (t: any, b: any) {
  return oa.call(this, t, b);
};
const T: any = TunnelSource.prototype;
const rr = T.receive;
T.receive = function (b: any) {
  tun++;
  return rr.call(this, b);
};
const log: any = {
  debug() {},
  info(o: any, m: string) {
    console.log(m, o.vm ?? "", o.path ?? "");
  },
  warn: console.log,
  error: console.log,
};
const mk = async (name: string) => {
  const stateDir = mkdtempSync("/tmp/dbg-");
  return {
    agent: await Agent.start(
      agentConfig({ name, listen: "127.0.0.1:0", stateDir }, "/tmp/empty.json"),
      log,
    ),
    client: new ControlClient(agentSocket(stateDir)),
  };
};
const a = await mk("a"),
  b = await mk("b");
const { token, address } = await b.client.ask({
  method: "POST",
  path: "/v1/invitations",
  answer: (await import("@dejavm/agent")).invitationSchema,
});
await a.client.ask({
  method: "POST",
  path: "/v1/pairings",
  body: { address, token },
  answer: (await import("@dejavm/agent")).peerSchema,
});
const vm = await a.client.ask({
  method: "POST",
  path: "/v1/vms",
  body: { name: "demo", image: "debian", memoryBytes: 128 * 2 ** 20, forwards: ["0:6379"] },
  answer: vmSummarySchema,
});
console.log(
  await runCommand(
    a.client,
    "demo",
    "redis-server --save '' --appendonly no --protected-mode no --daemonize yes --dir /tmp >/dev/null",
  ),
);
const port = Number(vm.forwards[0]!.split(":")[1]);
const c = await RedisClient.start({
  host: "127.0.0.1",
  port,
  keyCount: 200,
  valueBytes: 1024,
  operationsPerSecond: 100,
  seed: 1,
});
c.work();
await sleep(1000);
console.log(c.report);
const r = await followMigration(a.client, "demo", { to: "b" }, process.stderr);
console.log(r.outcome, r.totalMs, r.downtime, "guest frames", n, "tunnelled", tun);
console.log(
  JSON.stringify(
    r.course
      .filter((_, i) => i % 20 === 0)
      .map((x) => [x.atMs | 0, x.phase, x.lagMs | 0, x.share, x.bytesPerMs | 0, x.sentBytes]),
  ),
  JSON.stringify(r.decisions.map((d) => [d.atMs | 0, d.kind, d.why])),
);
for (let i = 0; i < 3; i++) {
  await sleep(1000);
  console.log(c.report, "frames", n, "tun", tun);
}
await c.stop();
console.log("stopped");
console.log(await c.lost("same-connection"));
const v = await b.client.ask({ method: "GET", path: "/v1/vms/demo", answer: vmSummarySchema });
console.log(v);
console.log(await c.lost("new-connection", Number(v.forwards[0]!.split(":")[1])));
console.log(await b.client.ask({ method: "GET", path: "/v1/vms/demo", answer: vmSummarySchema }));
console.log(
  await runCommand(b.client, "demo", "ip addr; cat /proc/net/dev; netstat -tn; dmesg | tail -3"),
);
process.exit();
