/** The agent's log: a line of JSON for each event, on standard error. */
import { destination, type Logger, pino } from "pino";
import type { AgentConfig } from "./config.ts";

/** Something that takes log lines. */
export type Log = Pick<Logger, "debug" | "info" | "warn" | "error">;

/** `name` is the agent's and stands in every line. */
export function makeLog({ name, logLevel }: Pick<AgentConfig, "name" | "logLevel">): Log {
  return pino(
    { level: logLevel, base: { agent: name }, timestamp: pino.stdTimeFunctions.isoTime },
    destination({ fd: 2, sync: true }),
  );
}
