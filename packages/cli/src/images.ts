/** The door to packages/image: loaded only by commands that need an image. */

/** An image that is there and complete. */
export interface FoundImage {
  /** Paths. */
  readonly kernel: string;
  readonly initrd: string;
  readonly disk: string;
  /** The kernel command line that the image is made for. */
  readonly commandLine: string;
}

/** The 16550 UART, as on QEMU's board; a `console=` after it overrides it. */
const CONSOLE = "console=ttyS0";

/** Throws E_IMAGE_NAME, E_IMAGE_UNKNOWN or E_IMAGE_CORRUPT. */
export async function findImage(name: string): Promise<FoundImage> {
  const { resolveImage } = await import("@dejavm/image");
  const { kernel, initrd, disk, manifest } = await resolveImage(name);
  return { kernel, initrd, disk, commandLine: `${manifest.commandLine} ${CONSOLE}` };
}
