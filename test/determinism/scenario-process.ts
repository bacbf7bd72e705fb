/** The scenario in a process of its own: `{ paths, way }` as JSON in, digests as JSON out. */
import { type GuestPaths, openGuest } from "./guest-files.ts";
import { runScenario, type Way } from "./scenario.ts";

const { paths, way } = JSON.parse(process.argv[2] ?? "") as { paths: GuestPaths; way: Way };
process.stdout.write(JSON.stringify(runScenario(openGuest(paths), way)));
