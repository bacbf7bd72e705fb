/**
 * A process that does the workload in a store and tells of each step: what tests kill.
 *
 *     node torture-child.ts DIRECTORY FROM TO [sync|nosync]
 *
 * With TO before FROM it only opens the store. With `sync` or `nosync` it also writes to
 * DIRECTORY/acked how many steps are done, as if it had told the outside world; with `sync` only
 * after they are durable. DEJAVM_TORTURE_UID: the account that it works as.
 */
import { closeSync, openSync, writeSync } from "node:fs";
import { join } from "node:path";
import { openLogStore } from "../sqlite/sqlite-log-store.ts";
import { Workload } from "./workload.ts";

const [directory = "", from = "0", to = "0", acknowledge = ""] = process.argv.slice(2);
const account = Number(process.env["DEJAVM_TORTURE_UID"] ?? 0);
if (account !== 0) process.setuid?.(account);
try {
  const store = openLogStore(join(directory, "store"), { walPages: 40 });
  if (Number(to) < Number(from)) process.exit();
  const acked = acknowledge === "" ? undefined : openSync(join(directory, "acked"), "a");
  const workload = new Workload(store);
  workload.run(Number(from), Number(to), (steps) => {
    if (acknowledge === "sync" && steps % 3 === 0) store.syncNow();
    if (acked !== undefined && steps % 3 === 0) writeSync(acked, `${steps}\n`);
    writeSync(1, `${steps}\n`);
  });
  // The power fails before anything is tidied up.
  if (acked !== undefined) process.kill(process.pid, "SIGKILL");
  workload.release();
  store.close();
  if (acked !== undefined) closeSync(acked);
} catch (error) {
  const code = error instanceof Error && "code" in error ? String(error.code) : "no code";
  writeSync(2, `${code} ${String(error)}\n`);
  process.exitCode = 1;
}
