/** The default Debian image, as these tests use it. */
import { CodedError } from "@dejavm/base";
import { buildImage, imageSpec } from "@dejavm/image";
import { type GuestPaths, openGuest } from "./guest-files.ts";
import type { GuestFiles } from "./scenario.ts";

/** What keeps the image away without being a mistake of ours. */
const OUTSIDE = ["E_NO_NETWORK", "E_MIRROR_CHANGING", "E_TOOL_MISSING"];

/** Its files by path and opened. */
export interface Guest {
  readonly paths: GuestPaths;
  readonly files: GuestFiles;
}

/** The default image, or why there is none. */
export async function findGuest(): Promise<Guest | string> {
  try {
    const { image } = await buildImage(imageSpec());
    const { kernel, initrd, disk, manifest } = image;
    const paths = { kernel, initrd, disk, commandLine: manifest.commandLine };
    return { paths, files: openGuest(paths) };
  } catch (error) {
    if (!(error instanceof CodedError && OUTSIDE.includes(String(error.code)))) throw error;
    return error.message;
  }
}
