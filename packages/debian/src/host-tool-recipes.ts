/** Which Debian packages each tool of the host comes from, and what it takes to run it. */

/** A program that a test or a command of this project runs on the host. */
export type HostToolName =
  | "chromium"
  | "curl"
  | "dtc"
  | "e2fsck"
  | "gdb-multiarch"
  | "mke2fs"
  | "qemu-system-riscv64"
  | "redis-benchmark"
  | "redis-cli"
  | "riscv64-linux-gnu-gcc"
  | "riscv64-linux-gnu-objcopy"
  | "riscv64-linux-gnu-objdump"
  | "xz";

/** A set of packages that is unpacked together. */
export interface ToolBundle {
  readonly packages: readonly string[];
  /** Dependencies that the programs here do without: `PackageRequest.provided`. */
  readonly provided?: readonly string[];
}

/** How one tool is found and run. */
export interface ToolRecipe {
  readonly bundle: keyof typeof TOOL_BUNDLES;
  /** The program in the bundle's tree. */
  readonly program: string;
  /** Names that serve as well where PATH has them; empty if only the bundle's version will do. */
  readonly onPath: readonly string[];
  /** Arguments with which it prints its version and succeeds. */
  readonly probe: readonly string[];
  /** `TREE` stands for the tree's directory. */
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** The bundles by name. */
export const TOOL_BUNDLES = {
  chromium: {
    packages: ["chromium-headless-shell"],
    // The software renderer in chromium's own package makes the LLVM one unnecessary.
    provided: ["libllvm19", "libz3-4", "x11-utils", "xdg-utils"],
  },
  "cross-gcc": { packages: ["gcc-riscv64-linux-gnu", "libc6-dev-riscv64-cross"] },
  curl: { packages: ["curl"] },
  dtc: { packages: ["device-tree-compiler"] },
  // mke2fs loads libarchive when it makes a file system from a tar file.
  e2fsprogs: { packages: ["e2fsprogs", "libarchive13t64"] },
  gdb: { packages: ["gdb-multiarch"] },
  qemu: { packages: ["qemu-system-riscv"], provided: ["passwd", "debconf", "adduser"] },
  redis: { packages: ["redis-tools"], provided: ["adduser", "passwd", "debconf"] },
  xz: { packages: ["xz-utils"] },
} as const satisfies Readonly<Record<string, ToolBundle>>;

const CROSS_GCC = { bundle: "cross-gcc", probe: ["--version"] } as const;

/** The recipe of every tool. */
export const TOOL_RECIPES: Readonly<Record<HostToolName, ToolRecipe>> = {
  chromium: {
    bundle: "chromium",
    program: "usr/lib/chromium/chromium-headless-shell",
    onPath: ["chromium-headless-shell", "chromium", "chromium-browser", "google-chrome"],
    probe: ["--version"],
    env: { FONTCONFIG_SYSROOT: "TREE" },
  },
  curl: { bundle: "curl", program: "usr/bin/curl", onPath: ["curl"], probe: ["--version"] },
  dtc: { bundle: "dtc", program: "usr/bin/dtc", onPath: ["dtc"], probe: ["--version"] },
  e2fsck: { bundle: "e2fsprogs", program: "usr/sbin/e2fsck", onPath: ["e2fsck"], probe: ["-V"] },
  "gdb-multiarch": {
    bundle: "gdb",
    program: "usr/bin/gdb-multiarch",
    onPath: ["gdb-multiarch"],
    probe: ["--version"],
    args: ["--data-directory=TREE/usr/share/gdb"],
    env: { PYTHONHOME: "TREE/usr" },
  },
  // Older versions cannot read tar files, and another version makes another disk.
  mke2fs: {
    bundle: "e2fsprogs",
    program: "usr/sbin/mke2fs",
    onPath: [],
    probe: ["-V"],
    env: { MKE2FS_CONFIG: "TREE/etc/mke2fs.conf" },
  },
  // Tests and benchmarks compare against exactly this version.
  "qemu-system-riscv64": {
    bundle: "qemu",
    program: "usr/bin/qemu-system-riscv64",
    onPath: [],
    probe: ["--version"],
    args: ["-L", "TREE/usr/share/qemu"],
  },
  "redis-benchmark": {
    bundle: "redis",
    program: "usr/bin/redis-benchmark",
    onPath: ["redis-benchmark"],
    probe: ["--version"],
  },
  "redis-cli": {
    bundle: "redis",
    program: "usr/bin/redis-cli",
    onPath: ["redis-cli"],
    probe: ["--version"],
  },
  "riscv64-linux-gnu-gcc": {
    ...CROSS_GCC,
    program: "usr/bin/riscv64-linux-gnu-gcc",
    onPath: ["riscv64-linux-gnu-gcc"],
    args: ["--sysroot=TREE"],
  },
  "riscv64-linux-gnu-objcopy": {
    ...CROSS_GCC,
    program: "usr/bin/riscv64-linux-gnu-objcopy",
    onPath: ["riscv64-linux-gnu-objcopy"],
  },
  "riscv64-linux-gnu-objdump": {
    ...CROSS_GCC,
    program: "usr/bin/riscv64-linux-gnu-objdump",
    onPath: ["riscv64-linux-gnu-objdump"],
  },
  xz: { bundle: "xz", program: "usr/bin/xz", onPath: ["xz"], probe: ["--version"] },
};
