/** `dejavm agent`: runs an agent until it is told to end. */
import { Agent, agentConfig, makeLog } from "@dejavm/agent";

/** Options as commander gives them: settings, and the file with the others. */
export interface AgentOptions extends Record<string, string | undefined> {
  readonly config?: string;
}

/** Ends with SIGINT or SIGTERM. Throws E_AGENT_*, E_STATE_DIR and E_FILE_*. */
export async function agent(options: AgentOptions): Promise<void> {
  const { config: file, ...flags } = options;
  const config = agentConfig(flags, file);
  const log = makeLog(config);
  const running = await Agent.start(config, log);
  const signal = await new Promise<string>((resolve) => {
    for (const name of ["SIGINT", "SIGTERM"] as const) process.once(name, () => resolve(name));
  });
  log.info({ signal }, "agent ends");
  await running.close();
}
