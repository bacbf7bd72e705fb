/**
 * A process that ends as soon as it has started the thread of a `WalMover`, in one of three ways.
 * It prints whether the thread was ready, before and when the process could end.
 *
 *     node early-exit-child.ts DATABASE "process.exit" | "no more to do" | "an exception"
 */
import { writeSync } from "node:fs";
import Database from "better-sqlite3";
import { WalMover } from "../sqlite/wal-mover.ts";

const [path = "", how] = process.argv.slice(2);
const sqlite = new Database(path);
sqlite.pragma("journal_mode = WAL");
const mover = new WalMover(sqlite, path, 1);
mover.prepare();
writeSync(1, String(mover.isLoaded));
process.on("exit", () => writeSync(1, ` ${mover.isLoaded}`));
if (how === "process.exit") process.exit();
if (how === "an exception") throw new Error("of the test");
