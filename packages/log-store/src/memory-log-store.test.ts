import { MemoryLogStore } from "./memory-log-store.ts";
import { MemoryStorage } from "./memory-storage.ts";
import { registerLogStoreContract } from "./test-support/contract.ts";

registerLogStoreContract("in memory", () => {
  const storage = new MemoryStorage();
  return {
    open: () => new MemoryLogStore({ storage }),
    crash: () => storage.crash(),
    remove: () => undefined,
  };
});
