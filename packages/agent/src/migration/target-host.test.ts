/** What an agent says to machines that others offer. */

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { MemoryLogStore, type OwnershipState } from "@dejavm/log-store";
import type { ControlMessageOf } from "@dejavm/protocol";
import {
  bareVmConfig,
  bootHasher,
  encodeVmConfig,
  loadBoot,
  restoreConfigOf,
  type VmConfig,
} from "@dejavm/source-agent";
import { encodeTraceHeader, fingerprintOf } from "@dejavm/trace";
import { beforeEach, expect, test, vi } from "vitest";
import { temporaryDirectory } from "../test-support/temporary.ts";
import { type IncomingHost, targetHost } from "./target-host.ts";
import { TunnelDesk } from "./tunnel-desk.ts";

const memory = vi.hoisted(() => ({ freeBytes: 2 ** 33 }));
vi.mock("node:os", async (original) => {
  return { ...(await original<object>()), freemem: () => memory.freeBytes };
});

const MEMORY_BYTES = 64 * 2 ** 20;
const LINEAGE = "0".repeat(31);
const QUIET = { debug() {}, info() {}, warn() {}, error() {} };

let host: IncomingHost & { readonly store: MemoryLogStore };
let taken: string[];
let config: VmConfig;

beforeEach(() => {
  memory.freeBytes = 2 ** 33;
  taken = [];
  const stateDir = temporaryDirectory();
  const firmware = join(stateDir, "firmware");
  writeFileSync(firmware, Uint8Array.of(0x6f, 0, 0, 0));
  config = bareVmConfig(firmware, { memoryBytes: MEMORY_BYTES });
  host = {
    store: new MemoryLogStore(),
    log: QUIET,
    onStopped: () => undefined,
    onRelayed: () => undefined,
    agentName: "oslo",
    stateDir,
    isTaken: (name) => taken.includes(name),
    tunnels: new TunnelDesk(),
    delivered: new Map(),
    onArrived: () => undefined,
  };
});

/** An offer of that machine; `recorded` is what its trace says of it. */
async function offer(
  more: Partial<ControlMessageOf<"offer">> = {},
  recorded = config,
): Promise<ControlMessageOf<"offer">> {
  const files = recorded.boot;
  if (files === undefined) throw new Error("it boots something");
  const boot = loadBoot(files);
  const present = { ...restoreConfigOf(recorded), boot };
  const fingerprint = fingerprintOf(present, [], await bootHasher(files, boot));
  return {
    kind: "offer",
    migration: "m",
    lineage: `${LINEAGE}1`,
    name: "web",
    epoch: 2,
    semantics: 1,
    pageCount: MEMORY_BYTES / 4096,
    disks: [],
    fingerprint: encodeTraceHeader(fingerprint),
    description: encodeVmConfig(config),
    maxDowntimeMs: 100,
    ...more,
  };
}

/** The code of the refusal, which says what to do; `accept` where there is none. */
async function verdict(offered: ControlMessageOf<"offer">): Promise<string> {
  const judged = await targetHost(host).judge(offered);
  if (judged.kind === "accept") return "accept";
  expect(judged.reason.hint ?? "").not.toBe("");
  return judged.reason.code;
}

function keep(
  name: string,
  id: string,
  ...history: readonly (readonly [OwnershipState, number])[]
) {
  const fingerprint = new Uint8Array(0);
  const lineage = host.store.createLineage({
    id: id as never,
    name,
    config: encodeVmConfig(config),
    fingerprint,
  });
  const writer = host.store.openLineage(lineage.id);
  for (const [state, epoch] of history) {
    writer.recordOwnership({ state, epoch, peer: "", detail: "" });
  }
  writer.release();
}

test("[AG6] a machine that fits is accepted", async () => {
  expect(await verdict(await offer())).toBe("accept");
});

test("[AG6] one of a name that is taken here is not, whoever has it", async () => {
  taken = ["web"];
  expect(await verdict(await offer())).toBe("E_VM_EXISTS");
  taken = [];
  keep("web", `${LINEAGE}2`, ["live", 1]);
  expect(await verdict(await offer())).toBe("E_VM_EXISTS");
});

test("[TA8] nor one that lives here though it does not run, nor an older copy", async () => {
  keep("web", `${LINEAGE}1`, ["live", 1]);
  expect(await verdict(await offer())).toBe("E_VM_EXISTS");
  host = { ...host, store: new MemoryLogStore() };
  keep("web", `${LINEAGE}1`, ["live", 1], ["offering", 4], ["moved", 4]);
  expect(await verdict(await offer({ epoch: 3 }))).toBe("E_VM_OUTDATED");
  expect(await verdict(await offer({ epoch: 4 }))).toBe("accept");
});

test("[AG6] one of another configuration is refused by the first difference", async () => {
  const other = { ...config, memoryBytes: 2 * MEMORY_BYTES };
  expect(await verdict(await offer({}, other))).toBe("E_TRACE_CONFIG");
});

test("[AG6] one whose files are not here is refused by them", async () => {
  const disk = { sizeBytes: 512, readOnly: false, serial: "d", sha256: new Uint8Array(32) };
  const withDisk = { ...config, disks: [{ ...disk, path: "/nowhere" }] };
  const description = encodeVmConfig(withDisk);
  expect(await verdict(await offer({ description }))).toBe("E_DISK_ABSENT");
});

test("[AG6] one that needs more memory than is free is refused", async () => {
  memory.freeBytes = MEMORY_BYTES + 96 * 2 ** 20;
  expect(await verdict(await offer())).toBe("accept");
  memory.freeBytes--;
  expect(await verdict(await offer())).toBe("E_NO_MEMORY");
});
