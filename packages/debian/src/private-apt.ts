/**
 * apt with nothing of the host's but its programs and its mirror: private lists, cache, state and
 * package status, for any architecture and suite, without root. apt itself verifies signatures.
 *
 *     DIRECTORY/apt.conf      read after the host's configuration, so that it wins
 *              /lists, /state, /archives
 *              /status-KEY    the packages that count as installed for request KEY
 */
import { access, readdir, rm, stat, utimes, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { CodedError } from "@dejavm/base";
import { aptError } from "./apt-errors.ts";
import { makeDirectory } from "./fs-errors.ts";
import { hostMirror } from "./host-sources.ts";
import {
  type DebFile,
  type OnDebianProgress,
  type PackageRequest,
  parsePrintUris,
  requestKey,
} from "./package-set.ts";
import { type RunResult, runProcess } from "./run-process.ts";

/** Package lists older than this are fetched again before anything new is resolved. */
const LISTS_FRESH_MS = 24 * 3600 * 1000;

const KEYRINGS = [
  "/usr/share/keyrings/debian-archive-keyring.gpg",
  "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/** Where and for what a private apt works. */
export interface PrivateAptOptions {
  readonly directory: string;
  readonly architecture: string;
  readonly suite: string;
}

/** One private apt. Callers hold a lock: apt's own lock would fail instead of wait. */
export class PrivateApt {
  readonly #options: PrivateAptOptions;
  /** Where downloaded `.deb` files are. */
  readonly archiveDir: string;

  constructor(options: PrivateAptOptions) {
    this.#options = options;
    this.archiveDir = join(options.directory, "archives");
  }

  /** Writes the configuration and, where they are missing or old, fetches the package lists. */
  async prepare(mode: "fresh-lists" | "cached-lists", onProgress: OnDebianProgress): Promise<void> {
    const { directory } = this.#options;
    for (const name of ["lists/partial", "archives/partial", "state", "empty/partial"]) {
      await makeDirectory(join(directory, name));
    }
    await writeFile(join(directory, "apt.conf"), aptConfig(this.#options));
    const mirror = await hostMirror();
    const source = await this.#sourceLine(mirror);
    const stamp = join(directory, "lists.stamp");
    const age = await stat(stamp).then(
      (found) => Date.now() - found.mtimeMs,
      () => Infinity,
    );
    if (mode === "cached-lists" && age < LISTS_FRESH_MS) return;
    onProgress({ phase: "lists", message: `reading the package lists of ${mirror}` });
    await writeFile(join(directory, "sources.list"), source);
    const result = await this.#apt(["update"]);
    if (result.exitCode !== 0) throw aptError(`cannot read ${mirror}`, result.stderr);
    await writeFile(stamp, "");
    await utimes(stamp, new Date(), new Date());
  }

  /** The files that answer `request`, from the lists at hand, downloaded or not. */
  async resolve(request: PackageRequest): Promise<DebFile[]> {
    // apt leaves out of its answer what it finds in the archive, so it looks into an empty one.
    const result = await this.#install(request, [
      "--print-uris",
      "-qq",
      `-oDir::Cache::archives=${join(this.#options.directory, "empty")}`,
    ]);
    if (result.exitCode !== 0) throw aptError(describe("resolve", request), result.stderr);
    return parsePrintUris(result.stdout);
  }

  /** Downloads what `resolve` answered; takes up interrupted downloads where they ended. */
  async download(
    request: PackageRequest,
    files: readonly DebFile[],
    onProgress: OnDebianProgress,
  ): Promise<void> {
    const missing: number[] = [];
    for (const file of files) {
      const present = await stat(join(this.archiveDir, file.fileName)).catch(() => undefined);
      if (present?.size !== file.sizeBytes) missing.push(file.sizeBytes);
    }
    const totalBytes = missing.reduce((sum, sizeBytes) => sum + sizeBytes, 0);
    if (missing.length === 0) return;
    const report = (number: number, part: number) =>
      onProgress({
        phase: "download",
        package: number,
        packageCount: missing.length,
        receivedBytes: Math.round(totalBytes * part),
        totalBytes,
      });
    report(1, 0);
    const result = await this.#install(request, ["--download-only", "-q"], (line) => {
      const match = /^dlstatus:\d+:([\d.]+):.*file (\d+) of \d+/.exec(line);
      if (match !== null) report(Number(match[2]), Number(match[1]) / 100);
    });
    if (result.exitCode !== 0) throw aptError(describe("download", request), result.stderr);
    report(missing.length, 1);
  }

  async #install(
    request: PackageRequest,
    options: readonly string[],
    onStatusLine?: (line: string) => void,
  ): Promise<RunResult> {
    const { directory, architecture, suite } = this.#options;
    const status = join(directory, `status-${requestKey(suite, architecture, request)}`);
    await writeFile(status, statusFile(request));
    try {
      return await this.#apt(
        [
          "install",
          "--yes",
          "--no-install-recommends",
          `-oDir::State::status=${status}`,
          ...options,
          "--",
          ...request.packages,
        ],
        onStatusLine,
      );
    } finally {
      await rm(status, { force: true });
    }
  }

  async #apt(args: readonly string[], onStatusLine?: (line: string) => void): Promise<RunResult> {
    const config = join(this.#options.directory, "apt.conf");
    const options = onStatusLine === undefined ? {} : { onStatusLine };
    const command = ["-c", config, "-oAPT::Status-Fd=3", ...args];
    const result = await runProcess("apt-get", command, options);
    if (result.exitCode !== 0) await this.#removePartialCaches();
    return result;
  }

  /** apt leaves its half-written package caches behind when the disk is full. */
  async #removePartialCaches(): Promise<void> {
    const { directory } = this.#options;
    for (const name of await readdir(directory)) {
      if (/^(src)?pkgcache\.bin\../.test(name)) await rm(join(directory, name), { force: true });
    }
  }

  async #sourceLine(mirror: string): Promise<string> {
    for (const keyring of KEYRINGS) {
      const found = await access(keyring).then(
        () => true,
        () => false,
      );
      if (!found) continue;
      const { architecture, suite } = this.#options;
      const options = `arch=${architecture} target=Packages signed-by=${keyring}`;
      return `deb [${options}] ${mirror} ${suite} main\n`;
    }
    throw new CodedError("E_TOOL_MISSING", `no Debian keyring at ${KEYRINGS[0]}`, {
      hint: "install debian-archive-keyring",
    });
  }
}

function describe(verb: string, request: PackageRequest): string {
  return `cannot ${verb} ${request.packages.join(" ")}`;
}

/** The dpkg status file that makes apt believe that `provided` packages are installed. */
function statusFile(request: PackageRequest): string {
  const asked = new Set(request.packages);
  return (request.provided ?? [])
    .filter((name) => !asked.has(name))
    .map(
      (name) =>
        `Package: ${name}\nStatus: install ok installed\nMaintainer: none\n` +
        "Architecture: all\nMulti-Arch: foreign\nVersion: 9999:0\nDescription: provided\n",
    )
    .join("\n");
}

/**
 * The hooks that hosts hang on `update` and `install` are cleared (some would clean the host's own
 * cache), host pins ignored, and weak or unsigned repositories refused whatever the host allows.
 */
function aptConfig({ directory, architecture }: PrivateAptOptions): string {
  const at = (name: string) => JSON.stringify(join(directory, name));
  return `#clear APT::Architectures;
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear APT::Update::Post-Invoke-Stats;
#clear APT::Install::Pre-Invoke;
#clear APT::Install::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
APT::Architecture "${architecture}";
APT::Architectures { "${architecture}"; };
APT::Default-Release "";
APT::Get::AllowUnauthenticated "false";
APT::Sandbox::User "root";
APT::Update::Error-Mode "any";
Acquire::AllowInsecureRepositories "false";
Acquire::AllowWeakRepositories "false";
Acquire::ForceHash "SHA256";
Acquire::Languages { "none"; };
Acquire::Retries "2";
Acquire::http::Timeout "20";
Acquire::https::Timeout "20";
Dir::State ${at("state")};
Dir::State::lists ${at("lists")};
Dir::State::status "/dev/null";
Dir::Cache ${at(".")};
Dir::Cache::archives ${at("archives")};
Dir::Cache::pkgcache "pkgcache.bin";
Dir::Cache::srcpkgcache "srcpkgcache.bin";
Dir::Log ${at("state")};
Dir::Etc::sourcelist ${at("sources.list")};
Dir::Etc::sourceparts ${at("empty")};
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts ${at("empty")};
`;
}
