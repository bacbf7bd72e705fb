/** The public face of `@dejavm/image`: guest images, and the protocol of the agent in them. */

export {
  type BuildResult,
  buildImage,
  type ImageProgress,
  type OnImageProgress,
} from "./build-image.ts";
export { makeCpio } from "./cpio.ts";
export { ExecClient, type ExecEvent, type ExecRequest } from "./exec-client.ts";
export {
  EXEC_PORT_NAME,
  EXEC_WINDOW_BYTES,
  ExecDecoder,
  type ExecExit,
  type ExecMessage,
  encodeExecMessage,
} from "./exec-protocol.ts";
export type { ImageFile, ImageManifest, ImagePackage } from "./image-manifest.ts";
export { DEFAULT_IMAGE, type ImageOptions, type ImageSpec, imageSpec } from "./image-spec.ts";
export {
  findImageFile,
  imagesDir,
  type ListedImage,
  listImages,
  type ResolvedImage,
  removeImage,
  resolveImage,
} from "./image-store.ts";
export { type TarEntry, tarEnd, tarMember } from "./tar.ts";
