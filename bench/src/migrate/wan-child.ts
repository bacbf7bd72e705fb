/** A WAN rig in a process of its own: `wan-child PROFILE LISTEN TO`. Lines `stats` are answered. */
import { createInterface } from "node:readline";
import { findWanProfile, formatWanAddress, parseWanAddress, WanRig } from "@dejavm/wan";

const [name = "", listen = "", to = ""] = process.argv.slice(2);
const profile = findWanProfile(name);
if (profile === undefined) throw new Error(`there is no profile ${name}`);
const rig = await WanRig.listen({
  listen: parseWanAddress(listen),
  to: parseWanAddress(to),
  profile,
  seed: 1,
});
const tell = (facts: object): void => {
  process.stdout.write(`${JSON.stringify(facts)}\n`);
};
tell({ listening: formatWanAddress(rig.address) });
createInterface({ input: process.stdin })
  .on("line", () => tell(rig.statistics))
  .on("close", () => process.exit());
