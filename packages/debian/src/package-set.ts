/** What a set of Debian packages is: what was asked for, and the exact files that answer it. */
import { hash } from "node:crypto";
import { CodedError } from "@dejavm/base";

/** A request: these packages with all they depend on. */
export interface PackageRequest {
  readonly packages: readonly string[];
  /**
   * Packages that count as installed: what only maintainer scripts, which never run here, would
   * need. A name that is also in `packages` is not provided.
   */
  readonly provided?: readonly string[];
}

/** One `.deb`, as the signed package index describes it. */
export interface DebFile {
  readonly package: string;
  readonly version: string;
  readonly architecture: string;
  readonly fileName: string;
  readonly sizeBytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** The files that answer a request, all present in the archive directory. */
export interface PackageSet {
  readonly key: string;
  readonly suite: string;
  readonly architecture: string;
  readonly mirror: string;
  readonly files: readonly DebFile[];
}

/** What is being done, for whoever shows it. */
export type DebianProgress =
  | { readonly phase: "wait"; readonly message: string }
  | { readonly phase: "lists"; readonly message: string }
  | {
      readonly phase: "download";
      /** 1-based number of the package in work, of `packageCount`. */
      readonly package: number;
      readonly packageCount: number;
      readonly receivedBytes: number;
      readonly totalBytes: number;
    }
  | {
      readonly phase: "unpack";
      readonly name: string;
      readonly package: number;
      readonly packageCount: number;
    };

/** Gets progress reports, many per second at most. */
export type OnDebianProgress = (progress: DebianProgress) => void;

/** Debian policy 5.6.1; anything else could be read by apt as an option or a pattern. */
const PACKAGE_NAME = /^[a-z0-9][a-z0-9+.-]+$/;

/** Throws `E_PACKAGE_UNKNOWN` for a name that no Debian package can have. */
export function checkPackageName(name: string): void {
  if (PACKAGE_NAME.test(name) && !/[+-]$/.test(name.replace(/\+\+$/, ""))) return;
  throw new CodedError("E_PACKAGE_UNKNOWN", `${JSON.stringify(name)} is not a package name`, {
    hint: "a Debian package name has lower-case letters, digits, +, - and .",
  });
}

/** Names a request: equal requests have equal keys, whatever the order of the names. */
export function requestKey(suite: string, architecture: string, request: PackageRequest): string {
  const packages = [...new Set(request.packages)].sort();
  const provided = [...new Set(request.provided ?? [])].sort();
  const text = JSON.stringify([suite, architecture, packages, provided]);
  return hash("sha256", text, "hex").slice(0, 16);
}

/**
 * Reads `apt-get --print-uris` lines, `'URI' NAME_VERSION_ARCH.deb SIZE SHA256:HEX`. Throws
 * `E_APT` for a line of another shape: it would be a download without a known hash.
 */
export function parsePrintUris(text: string): DebFile[] {
  const files: DebFile[] = [];
  for (const line of text.split("\n")) {
    if (line.trim() === "") continue;
    const match =
      /^'[^']+' (([^_\s/]+)_([^_\s/]+)_([^_\s/]+)\.deb) (\d+) SHA256:([0-9a-f]{64})$/.exec(
        line.trim(),
      );
    if (match === null) throw new CodedError("E_APT", `cannot read apt's answer ${line.trim()}`);
    const [, fileName = "", name = "", version = "", architecture = "", size = "", sha256 = ""] =
      match;
    files.push({
      package: name,
      version: decodeURIComponent(version),
      architecture,
      fileName,
      sizeBytes: Number(size),
      sha256,
    });
  }
  return files.sort((a, b) => (a.package < b.package ? -1 : 1));
}
