/** What `dejavm log` does in the store. */
import {
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from "node:fs";
import { CodedError } from "@dejavm/base";
import {
  exportLineage,
  importLineage,
  type LineageInfo,
  type LogStore,
  openLogStore,
} from "@dejavm/log-store";
import { TIMEBASE_HZ } from "@dejavm/machine";
import { fileError } from "@dejavm/vm";
import { usageError } from "../errors.ts";
import { exitStatus } from "../exit-status.ts";
import { BROKEN_OFF, longWork } from "../long-work.ts";
import { openStore, storeDirectory } from "../store.ts";
import { textTable } from "../text-table.ts";

/** Options of every `log` command. */
export interface LogOptions {
  readonly json?: boolean;
  readonly stateDir?: string;
}

/** Options of `log export`. */
export interface ExportOptions extends LogOptions {
  readonly force?: boolean;
}

/** Options of `log import`. */
export interface ImportOptions extends LogOptions {
  readonly name?: string;
}

/** `log ls`. */
export function list(options: LogOptions): void {
  const store = openToRead(options);
  const rows = store === undefined ? [] : store.lineages().map((info) => summary(store, info));
  store?.close();
  if (options.json === true) {
    print(rows);
    return;
  }
  if (rows.length === 0) {
    tell("no recorded machines; make one with 'dejavm run --name NAME'");
    return;
  }
  const lines = rows.map((row) => [
    row.name,
    row.state === "live" && !row.running ? "stopped" : row.state,
    `${row.checkpoints} ${row.checkpoints === 1 ? "checkpoint" : "checkpoints"}`,
    `to ${seconds(row.ticks)}`,
    mebibytes(row.bytes),
  ]);
  process.stdout.write(textTable(lines));
}

/** `log show`. */
export function show(name: string, options: LogOptions): void {
  const store = openLogStore(storeDirectory(options.stateDir), { mode: "read" });
  try {
    const info = findIn(store, name);
    const checkpoints = store.checkpoints(info.id).map((checkpoint) => ({
      id: checkpoint.id,
      parent: checkpoint.parent ?? null,
      position: String(checkpoint.position),
      ticks: String(checkpoint.ticks),
      unit: checkpoint.trace.sequence,
      changes: checkpoint.changes,
      memoryPages: checkpoint.memoryPages,
      createdAtMs: checkpoint.createdAtMs,
    }));
    const ownership = store.ownershipHistory(info.id);
    const reports = store.reports(info.id);
    const all = { ...summary(store, info), checkpoints, ownership, reports };
    if (options.json === true) print(all);
    else process.stdout.write(describe(all));
  } finally {
    store.close();
  }
}

/** `log rm`: stops at the first that cannot be removed. */
export function remove(names: readonly string[], options: LogOptions): void {
  const store = openStore(options.stateDir);
  try {
    for (const name of names) {
      store.removeLineage(findIn(store, name).id);
      tell(`${name} removed`);
    }
    if (options.json === true) print({ removed: names });
  } finally {
    store.close();
  }
}

/** `log verify`: the exit status. */
export async function verify(options: LogOptions): Promise<number> {
  const store = openToRead(options);
  if (store === undefined) {
    if (options.json === true) print({ problems: [], lineages: 0 });
    else tell("no recorded machines");
    return exitStatus.ok;
  }
  try {
    const report = await longWork(store.verify());
    if (report === BROKEN_OFF) return exitStatus.interrupted;
    if (options.json === true) print(report);
    const { problems, lineages, segments, checkpoints, contents, bytes } = report;
    for (const { part, message, lineage } of problems) {
      if (options.json !== true) process.stdout.write(`${part} ${lineage ?? ""}: ${message}\n`);
    }
    tell(
      `looked at ${lineages} machines: ${segments} segments, ${checkpoints} checkpoints, ` +
        `${contents} pages and chunks, ${mebibytes(bytes)}`,
    );
    if (problems.length === 0) return exitStatus.ok;
    throw new CodedError("E_STORE_CORRUPT", `${problems.length} things are damaged`, {
      hint: "what is not named is whole: export it; import what is damaged from a good copy",
    });
  } finally {
    store.close();
  }
}

/** `log gc`: the exit status. */
export async function gc(options: LogOptions): Promise<number> {
  const store = openStore(options.stateDir);
  try {
    const report = await longWork(store.gc());
    if (report === BROKEN_OFF) return exitStatus.interrupted;
    if (options.json === true) print(report);
    else tell(`${report.contentsRemoved} pages and chunks freed, ${mebibytes(report.bytesFreed)}`);
    return exitStatus.ok;
  } finally {
    store.close();
  }
}

/** `log export`: the exit status. The file is there as a whole or not at all. */
export async function exportTo(
  name: string,
  file: string,
  options: ExportOptions,
): Promise<number> {
  const toStdout = file === "-";
  if (!toStdout && options.force !== true && existsSync(file)) {
    throw usageError(
      `cannot export to ${file}: it is there already`,
      "give --force or another name",
    );
  }
  const store = openLogStore(storeDirectory(options.stateDir), { mode: "read" });
  const part = `${file}.part`;
  const fd = toStdout ? 1 : writingFile(part, () => openSync(part, "w", 0o600));
  let whole = false;
  try {
    const steps = exportLineage(store, name, (bytes) => {
      writingFile(part, () => writeAll(fd, bytes));
    });
    const report = await longWork(steps);
    if (report === BROKEN_OFF) return exitStatus.interrupted;
    if (!toStdout) {
      writingFile(file, () => {
        fsyncSync(fd);
        renameSync(part, file);
      });
    }
    whole = true;
    const { lineage, checkpoints, segments, pages, bytes } = report;
    const { id } = lineage;
    if (options.json === true && !toStdout) {
      print({ name: lineage.name, id, checkpoints, segments, pages, bytes });
    }
    tell(`${lineage.name}: ${mebibytes(bytes)}; it may hold secrets, keep it to yourself`);
    return exitStatus.ok;
  } finally {
    if (!toStdout) closeSync(fd);
    if (!toStdout && !whole) rmSync(part, { force: true });
    store.close();
  }
}

/** `log import`: the exit status. */
export async function importFrom(file: string, options: ImportOptions): Promise<number> {
  const fd = readingFile(file, () => openSync(file, "r"));
  const store = openStore(options.stateDir);
  try {
    const read = (count: number): Uint8Array => readingFile(file, () => readUpTo(fd, count));
    const info = await longWork(importLineage(store, read, options.name));
    if (info === BROKEN_OFF) return exitStatus.interrupted;
    store.syncNow();
    if (options.json === true) print(summary(store, info));
    else tell(`${info.name} is there; replay or fork it`);
    return exitStatus.ok;
  } finally {
    closeSync(fd);
    store.close();
  }
}

/** Undefined: nothing was ever recorded. */
function openToRead(options: LogOptions): LogStore | undefined {
  try {
    return openLogStore(storeDirectory(options.stateDir), { mode: "read" });
  } catch (error) {
    if (error instanceof CodedError && error.code === "E_STORE_UNKNOWN") return undefined;
    throw error;
  }
}

/** Throws E_STORE_UNKNOWN. */
export function findIn(store: LogStore, name: string): LineageInfo {
  const info = store.findLineage(name);
  if (info !== undefined) return info;
  throw new CodedError("E_STORE_UNKNOWN", `there is no recorded machine ${name}`, {
    hint: "see 'dejavm log ls'",
  });
}

function summary(store: LogStore, info: LineageInfo) {
  const end = store.traceEnd(info.id);
  return {
    name: info.name,
    id: info.id,
    state: info.ownership?.state ?? "new",
    running: store.isInUse(info.id),
    epoch: info.ownership?.epoch ?? 0,
    peer: info.ownership?.peer ?? "",
    createdAtMs: info.createdAtMs,
    forkedFrom: info.forkedFrom?.lineage ?? null,
    position: String(end?.position ?? 0n),
    ticks: String(end?.ticks ?? 0n),
    units: end?.sequence ?? 0,
    checkpoints: store.checkpoints(info.id).length,
    bytes: store.lineageBytes(info.id),
  };
}

/** What `show` shows. */
interface Shown extends Omit<ReturnType<typeof summary>, "checkpoints"> {
  readonly checkpoints: readonly {
    readonly id: number;
    readonly parent: number | null;
    readonly ticks: string;
    readonly position: string;
    readonly changes: number;
    readonly createdAtMs: number;
  }[];
  readonly ownership: ReturnType<LogStore["ownershipHistory"]>;
  readonly reports: ReturnType<LogStore["reports"]>;
}

function describe(all: Shown): string {
  const from = all.forkedFrom === null ? "" : `, forked from ${all.forkedFrom}`;
  const head = [
    `${all.name} (${all.id}), since ${date(all.createdAtMs)}${from}`,
    `trace to ${seconds(all.ticks)}, position ${all.position}; ${mebibytes(all.bytes)} stored`,
  ];
  const checkpoints = all.checkpoints.map(
    ({ id, parent, ticks, position, changes, createdAtMs }) => [
      `  ${id}`,
      parent === null ? "whole" : `on ${parent}`,
      `at ${seconds(ticks)}`,
      `position ${position}`,
      `${changes} changes`,
      date(createdAtMs),
    ],
  );
  const ownership = all.ownership.map(({ state, epoch, peer, atMs }) => [
    `  epoch ${epoch}`,
    state,
    peer,
    date(atMs),
  ]);
  const reports = all.reports.map(({ kind, atMs }) => [`  ${kind}`, date(atMs)]);
  const sections = [
    ["checkpoints", checkpoints],
    ["ownership", ownership],
    ["reports (--json has them)", reports],
  ] as const;
  const body = sections.map(([title, rows]) =>
    rows.length === 0 ? "" : `${title}\n${textTable(rows)}`,
  );
  return `${head.join("\n")}\n${body.join("")}`;
}

function seconds(ticks: string): string {
  return `${(Number(ticks) / TIMEBASE_HZ).toFixed(1)} s`;
}

function mebibytes(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

function date(ms: number): string {
  return new Date(ms).toISOString();
}

function writeAll(fd: number, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
}

function readUpTo(fd: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count);
  let at = 0;
  while (at < count) {
    const read = readSync(fd, bytes, at, count - at, null);
    if (read === 0) break;
    at += read;
  }
  return bytes.subarray(0, at);
}

function writingFile<Result>(file: string, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    throw fileError(`write ${file}`, error);
  }
}

function readingFile<Result>(file: string, body: () => Result): Result {
  try {
    return body();
  } catch (error) {
    throw fileError(`read ${file}`, error);
  }
}

function print(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}

function tell(line: string): void {
  process.stderr.write(`${line}\n`);
}
