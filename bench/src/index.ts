/** The public face of `@dejavm/bench`: what `dejavm bench` runs. */
export {
  type BootResult,
  type EngineBenchOptions,
  type EngineBenchResult,
  type ProgramResult,
  runEngineBench,
} from "./engine.ts";
export { engineTable } from "./table.ts";
