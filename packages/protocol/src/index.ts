/** The public face of `@dejavm/protocol`: what two agents say to each other. */
export {
  type BulkMessage,
  bulkBytes,
  type ChunkLayer,
  type ChunkName,
  type GroupCodec,
  MAX_GROUP_REFERENCES,
} from "./bulk.ts";
export {
  type Dial,
  type FrameSocket,
  type FrameSocketEvents,
  frameSocketOf,
  type WebSocketLike,
} from "./driver/frame-socket.ts";
export { LinkDriver, type LinkHandlers, type LinkState } from "./driver/link-driver.ts";
export {
  CLOSE_CODE,
  type CloseCode,
  closeCodeOf,
  type ProtocolError,
  type ProtocolErrorCode,
  protocolError,
} from "./errors.ts";
export { decodeFrame, encodeFrame, type Frame, type Hello, type Message } from "./frame.ts";
export {
  MAX_BULK_CHANNELS,
  MAX_FRAME_BYTES,
  MAX_GROUP_CHUNKS,
  MAX_GROUP_PAGES,
  MAX_INVENTORY,
  MAX_LIST_ITEMS,
  MAX_PAGES,
  PROTOCOL_VERSIONS,
  type VersionRange,
} from "./limits.ts";
export { Link, type LinkMeasures } from "./link.ts";
export {
  DEFAULT_LINK_TIMES,
  type LinkAction,
  type LinkEvent,
  type LinkOptions,
  type LinkTimes,
  type Peer,
} from "./link-types.ts";
export type { ControlMessage, ControlMessageOf, Reason } from "./messages.ts";
export { decodePageSet, encodePageSet } from "./page-set.ts";
export { reasonOf } from "./reason.ts";
