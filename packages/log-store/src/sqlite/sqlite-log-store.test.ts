import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LogStore } from "../log-store.ts";
import { registerLogStoreContract } from "../test-support/contract.ts";
import { openLogStore } from "./sqlite-log-store.ts";

registerLogStoreContract("SQLite", () => {
  const directory = mkdtempSync(join(tmpdir(), "dejavm-store-"));
  let stores: LogStore[] = [];
  return {
    open: () => {
      const store = openLogStore(directory);
      stores.push(store);
      return store;
    },
    // The real thing is in torture tests; without `close` of its writers first it would leave this.
    crash: () => {
      for (const store of stores) store.close();
      stores = [];
    },
    remove: () => rmSync(directory, { recursive: true }),
  };
});
