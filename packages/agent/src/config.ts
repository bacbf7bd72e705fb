/** What an agent is told: a JSON file, and flags that come before it. */
import { readFileSync } from "node:fs";
import { homedir, hostname } from "node:os";
import { join } from "node:path";
import { fileError } from "@dejavm/vm";
import { z } from "zod";
import { agentError } from "./errors.ts";
import { AGENT_NAME } from "./names.ts";
import { stateDirectory } from "./state-dir.ts";

const address = z.string().regex(/^(\[[0-9a-fA-F:.]+\]|[^:\s]+):\d{1,5}$/, "want HOST:PORT");
const settings = z.strictObject({
  /** What other agents call this one. */
  name: z.string().regex(AGENT_NAME).exactOptional(),
  /** Where other agents reach this one; `none`: it only dials. */
  listen: z.union([address, z.literal("none")]).exactOptional(),
  /** What it tells others to dial, where that is not `listen`. */
  advertise: address.exactOptional(),
  /** `/metrics` and `/healthz` on plain HTTP, beside the control socket. */
  metrics: address.exactOptional(),
  logLevel: z.enum(["trace", "debug", "info", "warn", "error"]).exactOptional(),
  stateDir: z.string().min(1).exactOptional(),
});

/** Settings that were given, in a file or as flags. */
export type AgentSettings = z.infer<typeof settings>;

/** Everything that an agent needs to know. */
export interface AgentConfig {
  readonly name: string;
  /** Undefined: it does not listen. */
  readonly listen: HostPort | undefined;
  readonly advertise: string | undefined;
  readonly metrics: HostPort | undefined;
  readonly logLevel: "trace" | "debug" | "info" | "warn" | "error";
  readonly stateDir: string;
}

/** A TCP address. */
export interface HostPort {
  readonly host: string;
  readonly port: number;
}

/** Where an agent listens if it is told nothing. */
const DEFAULT_LISTEN = "0.0.0.0:7447";

/** The configuration file that is read unless another one is named. */
function defaultConfigPath(env: NodeJS.ProcessEnv = process.env): string {
  const home = env["XDG_CONFIG_HOME"];
  return join(home === undefined || home === "" ? join(homedir(), ".config") : home, CONFIG_FILE);
}

const CONFIG_FILE = "dejavm/agent.json";

/**
 * Flags before the file before what is usual. The default file may be absent, a named one not.
 * Throws E_AGENT_CONFIG and E_FILE_*.
 */
export function agentConfig(flags: AgentSettings, path: string | undefined): AgentConfig {
  const given = parseSettings(flags, "the flags");
  const file = readSettings(path);
  const {
    name,
    listen = DEFAULT_LISTEN,
    advertise,
    metrics,
    logLevel,
    stateDir,
  } = {
    ...file,
    ...given,
  };
  return {
    name: name ?? ownName(),
    listen: listen === "none" ? undefined : parseHostPort(listen),
    advertise,
    metrics: metrics === undefined ? undefined : parseHostPort(metrics),
    logLevel: logLevel ?? "info",
    stateDir: stateDirectory(stateDir),
  };
}

/** `HOST:PORT`, the host in brackets where it has colons. Throws E_AGENT_CONFIG. */
export function parseHostPort(text: string): HostPort {
  const match = /^(?:\[([^\]]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  const host = match?.[1] ?? match?.[2];
  const port = Number(match?.[3] ?? Number.NaN);
  if (host !== undefined && port <= 65_535) return { host, port };
  throw agentError("E_AGENT_CONFIG", `cannot use the address ${text}`, "want HOST:PORT");
}

function readSettings(path: string | undefined): AgentSettings {
  const file = path ?? defaultConfigPath();
  let text: string;
  try {
    text = readFileSync(file, "utf8");
  } catch (error) {
    const missing = error instanceof Error && "code" in error && error.code === "ENOENT";
    if (missing && path === undefined) return {};
    throw fileError(`read the configuration ${file}`, error);
  }
  try {
    return parseSettings(JSON.parse(text), file);
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
    throw configError(file, error.message);
  }
}

function parseSettings(value: unknown, source: string): AgentSettings {
  const result = settings.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  throw configError(source, `${issue?.path.join(".") ?? ""}: ${issue?.message ?? ""}`);
}

function configError(source: string, what: string): Error {
  const hint = "docs/AGENT.md lists what there is";
  return agentError("E_AGENT_CONFIG", `cannot use ${source}: ${what}`, hint);
}

function ownName(): string {
  const name = hostname();
  return AGENT_NAME.test(name) ? name : "agent";
}
