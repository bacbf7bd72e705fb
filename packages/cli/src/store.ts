/** The store of recorded machines, as commands open it. */
import { storeDirectory as directoryIn, stateDirectory } from "@dejavm/agent";
import { openLogStore, type SqliteLogStore } from "@dejavm/log-store";

/** Where the store is; `stateDir` as given on the command line. */
export function storeDirectory(stateDir?: string): string {
  return directoryIn(stateDirectory(stateDir));
}

/** Opens it for writing, and says what an interrupted write had left. Throws `openLogStore`'s. */
export function openStore(stateDir?: string): SqliteLogStore {
  const store = openLogStore(storeDirectory(stateDir));
  const { tornTail } = store;
  if (tornTail !== undefined) {
    const { cutBytes } = tornTail;
    process.stderr.write(`an interrupted write had left ${cutBytes} bytes; they were cut off\n`);
  }
  return store;
}
