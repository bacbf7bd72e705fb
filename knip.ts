/** What knip (dead files, exports and dependencies) cannot find out by itself. */
import type { KnipConfig } from "knip";

const config: KnipConfig = {
  workspaces: {
    ".": {
      // Started by the shell scripts and by package.json through tools/run.
      entry: ["tools/bootstrap.mjs", "tools/ok.ts", "tools/tidy.ts"],
      project: ["tools/**/*.{ts,mjs}", "*.ts"],
      ignoreDependencies: [
        // Programs that tools/ok.ts starts; tsgolint is started by oxlint.
        "@biomejs/biome",
        "oxlint",
        "oxlint-tsgolint",
        // For property tests of any package.
        "fast-check",
      ],
    },
    // Run by hand; started as a process.
    test: {
      entry: [
        "differential/main.ts",
        "machine/checkpoint-pause.ts",
        "simulation/main.ts",
        "simulation/soak.ts",
        "determinism/{scenario,session}-{process,worker}.ts",
      ],
      project: ["**/*.ts"],
      ignoreBinaries: ["mount", "umount"],
    },
    bench: {
      entry: [
        "src/machine-child.ts",
        "src/memory-soak.ts",
        "src/migrate/wan-child.ts",
        "src/record{,-debian}/*-child.ts",
      ],
      project: ["src/**/*.ts"],
    },
    "packages/*": { project: ["src/**/*.ts"] },
    // Programs of the host that these start.
    "packages/debian": { project: ["src/**/*.ts"], ignoreBinaries: ["flock"] },
    "packages/image": { project: ["src/**/*.ts"], ignoreBinaries: ["mount", "umount"] },
    // A thread, and a process of tests, which compile with the host's compiler.
    "packages/log-store": {
      entry: [
        "src/packer/pack-worker.ts",
        "src/sqlite/wal-worker.ts",
        "src/test-support/torture-child.ts",
      ],
      project: ["src/**/*.ts"],
      ignoreBinaries: ["cc", "mount", "umount"],
    },
    // Workers are started by their file names.
    "packages/source-agent": {
      entry: ["src/driver/packer/pack-worker.ts"],
      project: ["src/**/*.ts"],
    },
    "packages/target-agent": {
      entry: ["src/driver/unpacker/unpack-worker.ts"],
      project: ["src/**/*.ts"],
    },
    "packages/vm": {
      entry: ["src/driver/worker.ts"],
      project: ["src/**/*.ts"],
    },
  },
  // A type that an exported function mentions is part of its signature.
  ignoreExportsUsedInFile: { interface: true, type: true },
  ignoreIssues: {
    // The emitter lists WebAssembly's operators, needed today or not.
    "packages/machine/src/wasm/*.ts": ["exports", "types"],
    // So do a device's register and message constants, which follow its specification.
    "packages/machine/src/**/wire.ts": ["exports", "types"],
    "packages/gateway/src/**/wire.ts": ["exports", "types"],
  },
};

export default config;
