/** What `dejavm run` says at the end: the exit status, and with `--json` one line of JSON. Pure. */
import type { EndReport } from "@dejavm/vm";
import { exitStatus } from "../exit-status.ts";

/** Why the command ends, where it is not the guest that ended. */
export type HostReason =
  | { readonly kind: "quit" }
  | { readonly kind: "limit" }
  | { readonly kind: "signal"; readonly name: "SIGINT" | "SIGTERM" | "SIGHUP" }
  | { readonly kind: "exec"; readonly status: number };

/** 0 .. 255; a status that is not 0 never becomes 0. */
export function guestStatus(status: number): number {
  return status === 0 ? 0 : status & 0xff || exitStatus.error;
}

/** The status of the process. */
export function runStatus(end: EndReport, host: HostReason | undefined): number {
  if (end.reason.kind === "power-off") return guestStatus(end.reason.status);
  if (end.reason.kind === "limit") return exitStatus.instructionLimit;
  switch (host?.kind) {
    case "signal":
      return host.name === "SIGINT" ? exitStatus.interrupted : exitStatus.terminated;
    case "exec":
      return host.status;
    default:
      return exitStatus.ok;
  }
}

/** `--json`: one object on one line. */
export function runJson(args: {
  readonly end: EndReport;
  readonly host: HostReason | undefined;
  readonly wallSeconds: number;
  readonly startPosition: bigint;
}): string {
  const { end, host, wallSeconds, startPosition } = args;
  const stopped = end.reason.kind === "stopped" && host !== undefined;
  return `${JSON.stringify({
    exitReason: stopped ? host.kind : end.reason.kind,
    status: runStatus(end, host),
    position: Number(end.position),
    positionsRun: Number(end.position - startPosition),
    restarts: end.restarts,
    instructions: Number(end.instructions),
    virtualSeconds: Number(end.ticks) / 1e7,
    wallSeconds: Math.round(wallSeconds * 1000) / 1000,
    digest: end.digest,
    ...(end.engine === undefined ? {} : { engine: end.engine }),
  })}\n`;
}
