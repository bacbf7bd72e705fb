/** `manifest.json`: what an image is and the hashes of its files. */
import { CodedError } from "@dejavm/base";

/** Raise it when a reader of the old format could be wrong about the new one. */
export const MANIFEST_FORMAT = 1;

/** One file of an image. */
export interface ImageFile {
  /** Its name in the image's directory. */
  readonly file: string;
  readonly sizeBytes: number;
  /** Hexadecimal. */
  readonly sha256: string;
}

/** A Debian package in an image. */
export interface ImagePackage {
  readonly package: string;
  readonly version: string;
  readonly sha256: string;
}

/** Everything that is known about an image. */
export interface ImageManifest {
  readonly format: typeof MANIFEST_FORMAT;
  readonly name: string;
  /** Names what the image was made from, see `specKey`. */
  readonly specKey: string;
  /** The packages asked for besides the base. */
  readonly packages: readonly string[];
  readonly suite: string;
  readonly kernelRelease: string;
  /** What the kernel must be told to boot this image; a console and `quiet` may be added. */
  readonly commandLine: string;
  readonly kernel: ImageFile;
  readonly initrd: ImageFile;
  readonly disk: ImageFile;
  readonly contents: readonly ImagePackage[];
}

/** A manifest of more than this was not written by us. */
const MAX_MANIFEST_CHARS = 4 << 20;

/** Reads a manifest. Throws `E_IMAGE_CORRUPT` for another format or shape. */
export function parseManifest(name: string, text: string): ImageManifest {
  const corrupt = (detail: string) =>
    new CodedError("E_IMAGE_CORRUPT", `cannot use image ${name}: ${detail}`, {
      hint: `build it again: dejavm image build --name ${name}`,
    });
  if (text.length > MAX_MANIFEST_CHARS) throw corrupt("its manifest is too long");
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw corrupt("its manifest is not JSON");
  }
  if (!isRecord(value)) throw corrupt("its manifest is not an object");
  if (value["format"] !== MANIFEST_FORMAT) {
    throw corrupt(`its manifest has format ${String(value["format"])}, not ${MANIFEST_FORMAT}`);
  }
  if (!isManifest(value)) throw corrupt("its manifest has missing or wrong fields");
  return value;
}

function isManifest(
  value: Record<string, unknown>,
): value is Record<string, unknown> & ImageManifest {
  const texts = ["name", "specKey", "suite", "kernelRelease", "commandLine"];
  return (
    texts.every((key) => typeof value[key] === "string") &&
    [value["kernel"], value["initrd"], value["disk"]].every(isImageFile) &&
    isArrayOf(value["packages"], (each) => typeof each === "string") &&
    isArrayOf(value["contents"], isImagePackage)
  );
}

function isImageFile(value: unknown): boolean {
  return (
    isRecord(value) &&
    typeof value["file"] === "string" &&
    /^[\w.-]+$/.test(value["file"]) &&
    typeof value["sizeBytes"] === "number" &&
    Number.isSafeInteger(value["sizeBytes"]) &&
    typeof value["sha256"] === "string" &&
    /^[0-9a-f]{64}$/.test(value["sha256"])
  );
}

function isImagePackage(value: unknown): boolean {
  return (
    isRecord(value) &&
    ["package", "version", "sha256"].every((key) => typeof value[key] === "string")
  );
}

function isArrayOf(value: unknown, isItem: (item: unknown) => boolean): boolean {
  return Array.isArray(value) && value.every(isItem);
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
