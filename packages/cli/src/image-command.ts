/** `dejavm image build`, `ls`, `rm`. */
import {
  buildImage,
  imageSpec,
  type ListedImage,
  listImages,
  type ResolvedImage,
  removeImage,
} from "@dejavm/image";
import { imageProgress } from "./progress.ts";

/** Makes an image, or finds that it is there. Throws the builder's errors. */
export async function build(options: {
  readonly name?: string;
  readonly package: readonly string[];
  readonly json?: boolean;
}): Promise<void> {
  const { name, package: packages, json } = options;
  const spec = imageSpec({ packages, ...(name === undefined ? {} : { name }) });
  const progress = imageProgress(process.stderr);
  let result: { readonly image: ResolvedImage; readonly reused: boolean };
  try {
    result = await buildImage(spec, progress.show);
  } finally {
    progress.done();
  }
  const { image, reused } = result;
  if (json === true) {
    print({
      name: image.name,
      reused,
      kernel: image.kernel,
      initrd: image.initrd,
      disk: image.disk,
    });
  } else {
    process.stderr.write(`image ${image.name} ${reused ? "is there already" : "is ready"}\n`);
  }
}

/** Lists images, damaged ones too. */
export async function list(options: { readonly json?: boolean }): Promise<void> {
  const images = await listImages();
  if (options.json === true) {
    print(images.map(summary));
    return;
  }
  if (images.length === 0) {
    process.stderr.write("no images; make one with 'dejavm image build'\n");
    return;
  }
  const width = Math.max(...images.map(({ name }) => name.length));
  for (const image of images) {
    process.stdout.write(`${image.name.padEnd(width)}  ${line(image)}\n`);
  }
}

/** Removes images; stops at the first that is not there. */
export async function remove(names: readonly string[]): Promise<void> {
  for (const name of names) {
    await removeImage(name);
    process.stderr.write(`image ${name} removed\n`);
  }
}

function summary(image: ListedImage): object {
  if ("problem" in image) return { name: image.name, problem: image.problem };
  const { name, manifest, storedBytes } = image;
  const { suite, kernelRelease, packages } = manifest;
  return { name, suite, kernelRelease, packages, storedBytes };
}

function line(image: ListedImage): string {
  if ("problem" in image) return `damaged: ${image.problem}`;
  const { manifest, storedBytes } = image;
  const mib = (storedBytes / 2 ** 20).toFixed(0).padStart(6);
  const extra = manifest.packages.length === 0 ? "" : `  + ${manifest.packages.join(" ")}`;
  return `${mib} MiB  Debian ${manifest.suite}, Linux ${manifest.kernelRelease}${extra}`;
}

function print(value: object): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
