/** The public face of `@dejavm/bench`: what `dejavm bench` runs. */
export {
  type EngineBenchOptions,
  type EngineBenchResult,
  type ProgramResult,
  runEngineBench,
} from "./engine.ts";
export {
  type NetworkBenchOptions,
  type NetworkBenchResult,
  type NetworkResultRow,
  runNetworkBench,
} from "./network/network.ts";
export { networkTable } from "./network/table.ts";
export { engineTable } from "./table.ts";
