/** `dejavm wan`: runs a WAN rig until it is interrupted; standard input commands it. */
import { randomInt } from "node:crypto";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { CodedError } from "@dejavm/base";
import { fileError } from "@dejavm/vm";
import {
  findWanProfile,
  formatWanAddress,
  parseWanAction,
  parseWanAddress,
  parseWanProfile,
  WAN_PROFILES,
  type WanProfile,
  WanRig,
} from "@dejavm/wan";
import { usageError } from "./errors.ts";

/** Options as commander gives them. */
export interface WanOptions {
  readonly listen: string;
  readonly to: string;
  readonly profile: string;
  readonly seed?: string;
  readonly json?: boolean;
}

const MAX_SEED = 2 ** 32;

/** Ends with SIGINT, SIGTERM or SIGHUP. Throws E_WAN_*, E_FILE_* and E_USAGE. */
export async function wan(options: WanOptions): Promise<void> {
  const seed = options.seed === undefined ? randomInt(MAX_SEED) : parseSeed(options.seed);
  const rig = await WanRig.listen({
    listen: parseWanAddress(options.listen),
    to: parseWanAddress(options.to),
    profile: readProfile(options.profile),
    seed,
  });
  const tell = (facts: object): void => {
    if (options.json === true) process.stdout.write(`${JSON.stringify(facts)}\n`);
    else process.stderr.write(`wan: ${describe(facts)}\n`);
  };
  tell({ listening: formatWanAddress(rig.address), to: options.to, seed });
  const commands = createInterface({ input: process.stdin });
  commands.on("line", (line) => obey(rig, line.trim(), tell));
  await interrupted();
  commands.close();
  tell(rig.statistics);
  await rig.close();
}

function obey(rig: WanRig, line: string, tell: (facts: object) => void): void {
  if (line === "") return;
  if (line === "stats") {
    tell(rig.statistics);
    return;
  }
  try {
    rig.perform(parseWanAction(line, "command"));
    tell({ done: line });
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    tell({ error: String(error.code), message: error.message });
  }
}

function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    for (const name of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
      process.once(name, () => resolve());
  });
}

function readProfile(name: string): WanProfile {
  const known = findWanProfile(name);
  if (known !== undefined) return known;
  try {
    return parseWanProfile(readFileSync(name, "utf8"), name);
  } catch (error) {
    const failure = fileError(`read the profile ${name}`, error);
    if (!(failure instanceof CodedError) || failure.code !== "E_FILE_NOT_FOUND") throw failure;
    const names = WAN_PROFILES.map((profile) => profile.name).join(", ");
    throw new CodedError("E_FILE_NOT_FOUND", `there is no profile and no file ${name}`, {
      hint: `want ${names} or a JSON file as docs/WAN.md describes it`,
      cause: error,
    });
  }
}

function parseSeed(text: string): number {
  const seed = /^\d{1,10}$/u.test(text) ? Number(text) : Number.NaN;
  if (seed < MAX_SEED) return seed;
  throw usageError(`cannot use --seed ${text}`, `want a whole number below ${MAX_SEED}`);
}

/** `{"a":1,"b":{"c":2}}` as `a 1, b (c 2)`. */
function describe(facts: object): string {
  return Object.entries(facts)
    .map(([name, value]: [string, unknown]) =>
      typeof value === "object" && value !== null
        ? `${name} (${describe(value)})`
        : `${name} ${String(value)}`,
    )
    .join(", ");
}
