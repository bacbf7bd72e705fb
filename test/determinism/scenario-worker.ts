/** The scenario in a browser's worker: gets a `Way`, answers with the digests. */
import { runScenario, type Way } from "./scenario.ts";
import { answerWith } from "./worker-guest.ts";

answerWith((files, way: Way) => runScenario(files, way));
