/** What of `dejavm log` reads traces: events, the console as a cast, frames as a capture. */

import { once } from "node:events";
import { closeSync, existsSync, openSync, writeSync } from "node:fs";
import { capturedFrame, captureHeader } from "@dejavm/gateway";
import { HOST_CODECS, openLogStore } from "@dejavm/log-store";
import { TIMEBASE_HZ, type Ticks } from "@dejavm/machine";
import { decodeVmConfig, type StoredReplayOptions } from "@dejavm/source-agent";
import { openSegment, type TraceRecord, unitsOf } from "@dejavm/trace";
import { type EngineName, fileError } from "@dejavm/vm";
import { usageError } from "../errors.ts";
import { exitStatus } from "../exit-status.ts";
import { findIn, type LogOptions } from "../log/store-commands.ts";
import { BROKEN_OFF } from "../long-work.ts";
import { storeDirectory } from "../store.ts";
import { goalOf, refuseDivergence, runReplay } from "./replay-command.ts";

/** Options of `log console` and `log pcap`. */
export interface ReadOptions extends LogOptions {
  readonly until?: string;
  readonly force?: boolean;
  readonly engine?: EngineName;
}

/** `log events`: the exit status. Throws E_TRACE_CORRUPT at what is damaged. */
export async function events(name: string, options: LogOptions): Promise<number> {
  const store = openLogStore(storeDirectory(options.stateDir), { mode: "read" });
  try {
    const { id } = findIn(store, name);
    for (const { bytes } of store.readTrace(id, 0)) {
      for (const { sequence, records } of unitsOf(openSegment(bytes, HOST_CODECS)).units) {
        const lines = records.map((record) => JSON.stringify(eventOf(record, sequence)));
        if (!process.stdout.write(`${lines.join("\n")}\n`)) await once(process.stdout, "drain");
      }
    }
    return exitStatus.ok;
  } finally {
    store.close();
  }
}

/** One line of `log events`. Bytes are base64; those of a console are also shown as text. */
function eventOf(record: TraceRecord, unit: number): object {
  const { position, idleTicks, kind } = record;
  const place = { unit, position: `${position}`, ...(idleTicks && { ticks: `${idleTicks}` }) };
  switch (kind) {
    case "digest":
      return { ...place, kind, digest: record.digest };
    case "end":
      return { ...place, kind, reason: record.end.kind };
    case "frontier":
      return { ...place, kind };
    case "input":
      return { ...place, ...inputOf(record.event) };
  }
}

function inputOf(event: Extract<TraceRecord, { kind: "input" }>["event"]): object {
  const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");
  switch (event.kind) {
    case "console": {
      const { kind, port, bytes } = event;
      return { kind, port, text: Buffer.from(bytes).toString("utf8"), bytes: base64(bytes) };
    }
    case "frame":
      return { kind: event.kind, bytes: base64(event.bytes) };
    case "clock":
      return { kind: event.kind, rate: `${event.rate}`, step: `${event.step}` };
    // A seed is a secret, and of no use to a reader.
    case "entropy":
      return { kind: event.kind };
    case "power-button":
    case "link":
      return event;
  }
}

/** `log console`: the exit status. */
export async function castConsole(
  name: string,
  file: string,
  options: ReadOptions,
): Promise<number> {
  return withOutput(name, file, options, ({ keyboard, write, wallTimeMs }) => {
    const header = { version: 2, width: 80, height: 24, timestamp: wallTimeMs / 1000, title: name };
    write(new TextEncoder().encode(`${JSON.stringify(header)}\n`));
    // A character may be cut between two outputs.
    const decoder = new TextDecoder();
    return {
      onOutput: ({ output }, at) => {
        if (output.kind !== "console" || output.port !== keyboard) return;
        const text = decoder.decode(output.bytes, { stream: true });
        const seconds = Number(at) / TIMEBASE_HZ;
        write(new TextEncoder().encode(`${JSON.stringify([seconds, "o", text])}\n`));
      },
    };
  });
}

/** `log pcap`: the exit status. */
export async function capture(name: string, file: string, options: ReadOptions): Promise<number> {
  return withOutput(name, file, options, ({ write, wallTimeMs }) => {
    write(captureHeader());
    const microseconds = (at: Ticks): bigint => BigInt(wallTimeMs) * 1000n + at / 10n;
    return {
      onOutput: ({ position, output }, at) => {
        if (output.kind !== "frame") return;
        write(capturedFrame(output.bytes, "fromGuest", microseconds(at), `position ${position}`));
      },
      onRecord: (record, at) => {
        if (record.kind !== "input" || record.event.kind !== "frame") return;
        const { bytes } = record.event;
        write(capturedFrame(bytes, "toGuest", microseconds(at), `position ${record.position}`));
      },
    };
  });
}

/** What writes to the file while the machine is replayed. */
interface Writing {
  readonly keyboard: string;
  /** Wall time at the guest's virtual time 0, milliseconds since 1970. */
  readonly wallTimeMs: number;
  readonly write: (bytes: Uint8Array) => void;
}

async function withOutput(
  name: string,
  file: string,
  options: ReadOptions,
  begin: (writing: Writing) => Pick<StoredReplayOptions, "onOutput" | "onRecord">,
): Promise<number> {
  const toStdout = file === "-";
  if (!toStdout && options.force !== true && existsSync(file)) {
    throw usageError(`cannot write ${file}: it is there already`, "give --force or another name");
  }
  const store = openLogStore(storeDirectory(options.stateDir), { mode: "read" });
  let fd: number | undefined;
  try {
    const lineage = findIn(store, name);
    const { keyboard, originNs } = decodeVmConfig(lineage.config);
    const goal = goalOf(store, lineage, options.until ?? "end", "--until");
    const target = toStdout ? 1 : writing(file, () => openSync(file, "w", 0o600));
    fd = target;
    const listeners = begin({
      keyboard,
      wallTimeMs: Number(originNs / 1_000_000n),
      write: (bytes) => writing(file, () => writeAll(target, bytes)),
    });
    const engine = options.engine === undefined ? {} : { engine: options.engine };
    const done = await runReplay({ store, lineage, goal, whole: true, ...engine, ...listeners });
    if (done === BROKEN_OFF) return exitStatus.interrupted;
    done.replayed.close();
    refuseDivergence(done.result);
    return exitStatus.ok;
  } finally {
    if (fd !== undefined && !toStdout) closeSync(fd);
    store.close();
  }
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

function writing<Result>(file: string, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    throw fileError(`write ${file}`, error);
  }
}
