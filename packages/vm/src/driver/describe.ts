/** Gathers what a snapshot of a machine on this host holds. */
import { assert } from "@dejavm/base";
import { type Machine, type RestoreConfig, SEMANTICS } from "@dejavm/machine";
import type { SaveTarget } from "../requests.ts";
import type { BlockStore } from "../runnable-machine.ts";
import type { DiskFile } from "./disk-file.ts";
import type { SaveParts } from "./snapshot-file.ts";

/** Stands in every snapshot. */
const CREATOR = "dejavm 0.1.0";

/** What a description is gathered from. */
export interface DescribeArgs {
  readonly machine: Machine;
  readonly config: RestoreConfig;
  readonly store: BlockStore;
  readonly disks: readonly DiskFile[];
  readonly digest: string;
  readonly target: SaveTarget;
}

/** All that `saveSnapshot` wants. Asserts a sha256 for each disk. */
export function describeMachine(args: DescribeArgs): SaveParts {
  const { machine, config, store, disks, digest } = args;
  const { diskSha256, image, keyboard } = args.target;
  return {
    machine,
    store,
    semantics: SEMANTICS,
    description: {
      creator: CREATOR,
      image,
      keyboard,
      position: machine.position,
      ticks: machine.ticks,
      digest,
      memoryBytes: config.memoryBytes,
      disks: config.disks.map((disk, index) => {
        const sha256 = diskSha256[index];
        assert(sha256 !== undefined, `no sha256 for disk ${index}`);
        return { ...disk, path: disks[index]?.path ?? "", sha256 };
      }),
      mac: config.net?.mac,
      wallTimeNs: config.wallTimeNs,
      savedAtNs: BigInt(Date.now()) * 1_000_000n,
    },
  };
}
