/** The public face of `@dejavm/agent`: the process that runs machines and moves them. */
export { Agent } from "./agent.ts";
export { type AgentConfig, type AgentSettings, agentConfig } from "./config.ts";
export {
  infoSchema,
  invitationSchema,
  migrationsSchema,
  peerSchema,
  portsSchema,
  type VmSummary,
  vmSummarySchema,
} from "./control/api.ts";
export { ControlClient } from "./control/client.ts";
export { agentSocket, type FoundVm, findVmNamed, findVms, runSocket } from "./control/discovery.ts";
export type { StreamRoute } from "./control/routes.ts";
export { ControlServer } from "./control/server.ts";
export {
  failureOf,
  type MigrationWish,
  type Progress,
  runCommand,
  startCommand,
  startMigration,
  tapFrames,
  toBytes,
} from "./control/vm-client.ts";
export { type VmDirectory, vmRoutes, vmStreams } from "./control/vm-routes.ts";
export { makeLog } from "./log.ts";
export { prepareStateDirectory, stateDirectory, storeDirectory } from "./state-dir.ts";
export { gatewayForwards } from "./vm/gateway-forwards.ts";
export { type ExecSinks, GuestExec, type RunningCommand } from "./vm/guest-exec.ts";
export { type ForwardControl, RunningVm, type VmFacts } from "./vm/running-vm.ts";
