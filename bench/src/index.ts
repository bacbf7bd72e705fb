/** The public face of `@dejavm/bench`: what `dejavm bench` runs. */
export {
  type EngineBenchOptions,
  type EngineBenchResult,
  type ProgramResult,
  runEngineBench,
} from "./engine.ts";
export {
  type LogStoreBenchOptions,
  type LogStoreBenchResult,
  runLogStoreBench,
} from "./log-store.ts";
export { engineTable } from "./table.ts";
