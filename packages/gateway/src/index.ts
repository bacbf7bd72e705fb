/** The public face of `@dejavm/gateway`: the guest's network edge. */
export {
  type FlowEdge,
  flowsMessage,
  SwitchedNetwork,
  type Tunnel,
  TunnelSource,
} from "./driver/flow-tunnel.ts";
export { Gateway, type GatewayOptions, type NetworkPolicy } from "./driver/gateway.ts";
export {
  NetStream,
  type NetStreamEvents,
  parseNetAddress,
  type StreamAddress,
} from "./driver/net-stream.ts";
export { parseResolver } from "./driver/resolvers.ts";
export { type StreamPlug, StreamServer } from "./driver/stream-server.ts";
export type { Resolver } from "./environment.ts";
export { formatForward, type PortForward, parseForward } from "./forwards.ts";
export { FrameSplitter, lengthPrefix } from "./framing.ts";
export type { GatewayLimits } from "./limits.ts";
export type { Counters, DropReason, GatewayMetrics } from "./metrics.ts";
export { capturedFrame, captureHeader } from "./pcapng.ts";
export { formatRule, type PolicyRule, parseRule } from "./policy.ts";
export type { Flow } from "./socket-events.ts";
