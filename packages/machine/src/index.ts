export { ModuleBuilder } from "./wasm/module.ts";
