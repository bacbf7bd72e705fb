/** What apt says when it fails, as coded errors. */
import { CodedError } from "@dejavm/base";
import { diskFullError } from "./fs-errors.ts";
import { lastLine } from "./run-process.ts";

const NETWORK = new RegExp(
  [
    "could not (resolve|connect|handshake)",
    "failure resolving",
    "cannot initiate the connection",
    "unable to connect",
    "connection (failed|timed out|timeout|refused|reset)",
    "network is unreachable",
    "no route to host",
    "invalid response from proxy",
  ].join("|"),
  "i",
);
/** The package's name is in the first group that matched. */
const UNKNOWN_PACKAGE = [
  /Unable to locate package (\S+)/,
  /Package '([^']+)' has no installation candidate/,
  /Couldn't find any package by (?:regex|glob) '([^']+)'/,
];
const DISK_FULL = /no space left on device|don't have enough free space|disk quota exceeded/i;
/** The mirror's lists do not fit each other: it is being updated right now. */
const CHANGING = /unexpected size|mirror sync in progress|hash sum mismatch/i;
const UNTRUSTED = /NO_PUBKEY|is not signed|BADSIG|EXPKEYSIG|couldn't be verified|keyring|sqv/i;

/** The error for a failed apt run, from what it wrote to standard error; `what` it was to do. */
export function aptError(what: string, stderr: string): CodedError {
  const complaints = stderr.split("\n").filter((line) => /^(E|W|Err|  )/.test(line));
  const detail = (complaints.find((line) => line.startsWith("E: ")) ?? lastLine(stderr)).replace(
    /^[EW]: /,
    "",
  );
  const name = UNKNOWN_PACKAGE.map((each) => each.exec(stderr)?.[1]).find((each) => each);
  if (name !== undefined) {
    return new CodedError("E_PACKAGE_UNKNOWN", `${what}: Debian has no package ${name}`, {
      hint: "check the name at packages.debian.org for suite trixie",
    });
  }
  if (DISK_FULL.test(stderr)) return diskFullError(what);
  if (CHANGING.test(stderr)) {
    return new CodedError("E_MIRROR_CHANGING", `${what}: ${detail}`, {
      hint: "the mirror is being updated: try again in some minutes",
    });
  }
  if (NETWORK.test(stderr)) {
    const reason = complaints.find((line) => NETWORK.test(line))?.replace(/^(E|W): |^\s+/, "");
    return new CodedError("E_NO_NETWORK", `${what}: ${reason ?? detail}`, {
      hint: "check the network, the proxy and the mirror (DEJAVM_DEBIAN_MIRROR names another)",
    });
  }
  return new CodedError("E_APT", `${what}: ${detail}`, {
    hint: UNTRUSTED.test(stderr)
      ? "install debian-archive-keyring: the mirror's signatures could not be verified"
      : "see what apt-get says about it",
  });
}
