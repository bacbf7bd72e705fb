/**
 * The test run: `fast` is part of the gate, `interpreter` and `jit` repeat the machine's own tests
 * in full on one engine each, `slow` needs QEMU, Debian packages, a browser or just
 * time. Both resolve the workspace's packages to their sources, so tests need no build.
 */
import { defineConfig } from "vitest/config";
import { PlainSummary } from "./tools/plain-summary.ts";

const SLOW = ["**/*.slow.test.ts"];
const MACHINE = ["test/machine/**/*.test.ts"];
const FOLDERS = ["packages/*/src", "test", "tools", "bench"];

export default defineConfig({
  resolve: { conditions: ["source"] },
  ssr: { resolve: { conditions: ["source"] } },
  test: {
    reporters: ["default", new PlainSummary((line) => process.stdout.write(`${line}\n`))],
    pool: "forks",
    // Worker threads that a test starts run the sources too.
    execArgv: ["--conditions=source"],
    // A guest may have 2 GiB of RAM: more workers than this do not fit into an ordinary machine.
    maxWorkers: 2,
    unstubGlobals: true,
    projects: [
      {
        extends: true,
        test: {
          name: "fast",
          include: FOLDERS.map((folder) => `${folder}/**/*.test.ts`),
          exclude: [...SLOW, "**/node_modules/**", "**/dist/**"],
          testTimeout: 60_000,
        },
      },
      {
        // The machine's own tests in full, on the interpreter ...
        extends: true,
        test: {
          name: "interpreter",
          include: MACHINE,
          exclude: [...SLOW, "**/node_modules/**"],
          env: { DEJAVM_TEST_ENGINE: "interpreter" },
          testTimeout: 60_000,
        },
      },
      {
        // ... and with everything translated at once.
        extends: true,
        test: {
          name: "jit",
          include: MACHINE,
          exclude: [...SLOW, "**/node_modules/**"],
          env: { DEJAVM_TEST_ENGINE: "jit" },
          testTimeout: 60_000,
        },
      },
      {
        extends: true,
        test: {
          name: "slow",
          include: FOLDERS.map((folder) => `${folder}/**/*.slow.test.ts`),
          exclude: ["**/node_modules/**", "**/dist/**"],
          testTimeout: 600_000,
          hookTimeout: 600_000,
        },
      },
    ],
  },
});
