/** The public face of `@dejavm/wan`: a wide-area path on one host. */
export { formatWanAddress, parseWanAddress, type WanAddress } from "./address.ts";
export { WanRig, type WanRigOptions } from "./driver/rig.ts";
export type { LinkStatistics } from "./link.ts";
export type { WanStatistics } from "./path.ts";
export {
  findWanProfile,
  type LinkConditions,
  parseWanAction,
  parseWanProfile,
  WAN_PROFILES,
  type WanAction,
  type WanErrorCode,
  type WanProfile,
  type WanStep,
} from "./profile.ts";
