/** The blocks of a machine's disk images, indexed once for each machine, beside other work. */
import { BlockIndex, type VmConfig } from "@dejavm/source-agent";

/** Begins at once. What cannot be read is not known, and its pages are sent. */
export function indexImages({ disks }: VmConfig): BlockIndex {
  const index = new BlockIndex();
  for (const [disk, { path }] of disks.entries()) index.add(disk, path).catch(() => undefined);
  return index;
}
