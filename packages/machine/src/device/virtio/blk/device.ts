/**
 * The virtio block device: one queue, requests finish inside the notification against a `Disk`.
 * It has no state of its own besides the transport's; the disk is saved apart.
 */
import type { FieldReader } from "../../../snapshot/fields.ts";
import { CHUNK_BYTES, type State } from "../../device.ts";
import { chunkCount, type Disk } from "../../disk.ts";
import type { Chain } from "../chain.ts";
import { VirtioMmio, type VirtioOptions, type Work } from "../mmio.ts";
import type { QueueScan } from "../queue.ts";
import type { Shortage } from "../shortage.ts";
import { DEVICE_ID } from "../wire.ts";
import {
  BLK_CONFIG,
  BLK_FEATURE,
  BLK_HEADER,
  BLK_HEADER_BYTES,
  BLK_ID_BYTES,
  BLK_MAX_RANGE_SECTORS,
  BLK_MAX_RANGES,
  BLK_QUEUE_SIZE,
  BLK_SEG_MAX,
  BLK_SEGMENT,
  BLK_SEGMENT_BYTES,
  BLK_SEGMENT_UNMAP,
  BLK_SIZE_MAX,
  BLK_STATUS,
  BLK_TYPE,
  BLK_ZERO_CHUNK_COST,
  SECTOR_BYTES,
} from "./wire.ts";

/** What a block device is connected to, and what it tells the guest of itself. */
export interface VirtioBlkOptions extends VirtioOptions {
  readonly disk: Disk;
  readonly readOnly: boolean;
  /** ASCII, at most 20 characters; the rest is cut off. */
  readonly serial: string;
}

/** A part of the disk in bytes. */
interface ByteRange {
  readonly offset: number;
  readonly length: number;
}

/** What a request asks for, read and checked; everything it touches was probed. */
type Request =
  | ({ readonly kind: "read" | "write" } & ByteRange)
  | { readonly kind: "discard" | "zero"; readonly ranges: readonly ByteRange[] }
  | { readonly kind: "id" }
  | { readonly kind: "status"; readonly status: number };

const OK: Request = { kind: "status", status: BLK_STATUS.Ok };
const IO_ERROR: Request = { kind: "status", status: BLK_STATUS.IoError };
const UNSUPPORTED: Request = { kind: "status", status: BLK_STATUS.Unsupported };

/** A disk on the virtio-mmio bus. */
export class VirtioBlk extends VirtioMmio {
  readonly disk: Disk;
  readonly #readOnly: boolean;
  readonly #id: Uint8Array;

  constructor(options: VirtioBlkOptions) {
    super(options, {
      deviceId: DEVICE_ID.Block,
      features: blkFeatures(options.readOnly),
      queueSizes: [BLK_QUEUE_SIZE],
      config: blkConfig(options.disk.sizeBytes),
    });
    this.disk = options.disk;
    this.#readOnly = options.readOnly;
    this.#id = new Uint8Array(BLK_ID_BYTES);
    for (let i = 0; i < Math.min(options.serial.length, BLK_ID_BYTES); i++) {
      this.#id[i] = options.serial.charCodeAt(i) & 0x7f;
    }
  }

  protected override plan(index: number, shortage: Shortage): Work {
    const queue = this.queues[index];
    const scan = queue.scan(shortage.pages);
    const absent = new Set<number>();
    const batch: { readonly chain: Chain; readonly request: Request }[] = [];
    let dirtied = 0;
    for (let chain = scan.next(); chain !== undefined; chain = scan.next()) {
      if (chain.readable.byteLength < BLK_HEADER_BYTES || chain.writable.byteLength < 1) {
        scan.reject();
        break;
      }
      const request = this.#decode(chain);
      if (request === undefined) continue;
      dirtied += this.#probe(request, chain, scan, absent);
      batch.push({ chain, request });
    }
    this.disk.probeRoom(dirtied, absent);
    for (const chunk of absent) shortage.blocks.push({ disk: this.disk.index, chunk });
    return () => {
      for (const { chain, request } of batch) queue.push(chain, this.#perform(chain, request));
      this.finish(queue, scan);
    };
  }

  protected override resetDevice(): void {}

  protected override saveDevice(): State {
    return {};
  }

  protected override restoreDevice(f: FieldReader): void {
    f.end();
  }

  /** Reads header and ranges; undefined if they are absent (which the scan has noted). */
  #decode(chain: Chain): Request | undefined {
    const { readable, writable } = chain;
    if (!readable.present(this.memory, 0, BLK_HEADER_BYTES)) return undefined;
    const header = viewOf(readable.read(this.memory, 0, BLK_HEADER_BYTES));
    const offset = byteOffset(header, BLK_HEADER.SectorLow, BLK_HEADER.SectorHigh);
    const type = header.getUint32(BLK_HEADER.Type, true);
    switch (type) {
      case BLK_TYPE.In:
        return this.#transfer("read", offset, writable.byteLength - 1);
      case BLK_TYPE.Out:
        if (this.#readOnly) return IO_ERROR;
        return this.#transfer("write", offset, readable.byteLength - BLK_HEADER_BYTES);
      case BLK_TYPE.Flush:
        return OK;
      case BLK_TYPE.GetId:
        return { kind: "id" };
      case BLK_TYPE.Discard:
      case BLK_TYPE.WriteZeroes:
        return this.#decodeRanges(chain, type === BLK_TYPE.Discard ? "discard" : "zero");
      default:
        return UNSUPPORTED;
    }
  }

  #transfer(kind: "read" | "write", offset: number, length: number): Request {
    if (length % SECTOR_BYTES !== 0 || !this.#inDisk(offset, length)) return IO_ERROR;
    return { kind, offset, length };
  }

  #decodeRanges(chain: Chain, kind: "discard" | "zero"): Request | undefined {
    if (this.#readOnly) return IO_ERROR;
    const { readable } = chain;
    const length = readable.byteLength - BLK_HEADER_BYTES;
    const count = length / BLK_SEGMENT_BYTES;
    if (!Number.isInteger(count) || count < 1 || count > BLK_MAX_RANGES) return IO_ERROR;
    if (!readable.present(this.memory, BLK_HEADER_BYTES, length)) return undefined;
    const segments = viewOf(readable.read(this.memory, BLK_HEADER_BYTES, length));
    const allowedFlags = kind === "discard" ? 0 : BLK_SEGMENT_UNMAP;
    const ranges: ByteRange[] = [];
    for (let at = 0; at < length; at += BLK_SEGMENT_BYTES) {
      const flags = segments.getUint32(at + BLK_SEGMENT.Flags, true);
      if ((flags & ~allowedFlags) !== 0) return UNSUPPORTED;
      const sectors = segments.getUint32(at + BLK_SEGMENT.SectorCount, true);
      const { SectorLow, SectorHigh } = BLK_SEGMENT;
      const offset = byteOffset(segments, at + SectorLow, at + SectorHigh);
      const inDisk = this.#inDisk(offset, sectors * SECTOR_BYTES);
      if (sectors > BLK_MAX_RANGE_SECTORS || !inDisk) return IO_ERROR;
      ranges.push({ offset, length: sectors * SECTOR_BYTES });
    }
    return { kind, ranges };
  }

  #inDisk(offset: number, length: number): boolean {
    return offset + length <= this.disk.sizeBytes;
  }

  /**
   * Adds the chunks that the request needs to `absent`, and its work to the batch. Returns how
   * many chunks it may make dirty.
   */
  #probe(request: Request, chain: Chain, scan: QueueScan, absent: Set<number>): number {
    switch (request.kind) {
      case "read":
      case "write": {
        const { kind, offset, length } = request;
        if (kind === "read") this.disk.probeRead(offset, length, absent);
        else this.disk.probeWrite(offset, length, absent);
        const chunks = chunkCount(offset, length);
        scan.charge(Math.max(0, chunks * CHUNK_BYTES - chain.byteLength));
        return kind === "write" ? chunks : 0;
      }
      case "discard":
      case "zero": {
        let dirtied = 0;
        for (const { offset, length } of request.ranges) {
          scan.charge(chunkCount(offset, length) * BLK_ZERO_CHUNK_COST);
          if (request.kind === "discard") continue;
          this.disk.probeWrite(offset, length, absent);
          // At most the first and the last chunk keep some of their content.
          dirtied += 2;
          scan.charge(2 * CHUNK_BYTES);
        }
        return dirtied;
      }
      default:
        return 0;
    }
  }

  /** Does the request and stores its status byte. Returns the number of bytes written. */
  #perform(chain: Chain, request: Request): number {
    const { writable } = chain;
    let status: number = BLK_STATUS.Ok;
    let written = 0;
    switch (request.kind) {
      case "read":
        written = this.#read(chain, request);
        break;
      case "write": {
        const { offset, length } = request;
        const parts = chain.readable.views(this.memory, BLK_HEADER_BYTES, length);
        this.disk.write(offset, length, parts);
        break;
      }
      case "discard":
        for (const { offset, length } of request.ranges) this.disk.discard(offset, length);
        break;
      case "zero":
        for (const { offset, length } of request.ranges) this.disk.writeZeroes(offset, length);
        break;
      case "id":
        written = Math.min(BLK_ID_BYTES, writable.byteLength - 1);
        writable.write(this.memory, 0, this.#id.subarray(0, written));
        break;
      case "status":
        status = request.status;
        break;
    }
    writable.write(this.memory, writable.byteLength - 1, Uint8Array.of(status));
    return written + 1;
  }

  #read(chain: Chain, { offset, length }: ByteRange): number {
    for (let done = 0; done < length; ) {
      const bytes = this.disk.view(offset + done, length - done);
      chain.writable.write(this.memory, done, bytes);
      done += bytes.length;
    }
    return length;
  }
}

function blkFeatures(readOnly: boolean): number[] {
  const { SizeMax, SegMax, BlkSize, Flush, ReadOnly, Discard, WriteZeroes } = BLK_FEATURE;
  const always = [SizeMax, SegMax, BlkSize, Flush];
  return readOnly ? [...always, ReadOnly] : [...always, Discard, WriteZeroes];
}

function blkConfig(sizeBytes: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(BLK_CONFIG.Bytes));
  view.setBigUint64(BLK_CONFIG.Capacity, BigInt(sizeBytes / SECTOR_BYTES), true);
  const words: readonly (readonly [number, number])[] = [
    [BLK_CONFIG.SizeMax, BLK_SIZE_MAX],
    [BLK_CONFIG.SegMax, BLK_SEG_MAX],
    [BLK_CONFIG.BlkSize, SECTOR_BYTES],
    [BLK_CONFIG.MaxDiscardSectors, BLK_MAX_RANGE_SECTORS],
    [BLK_CONFIG.MaxDiscardSeg, BLK_MAX_RANGES],
    [BLK_CONFIG.DiscardSectorAlignment, CHUNK_BYTES / SECTOR_BYTES],
    [BLK_CONFIG.MaxWriteZeroesSectors, BLK_MAX_RANGE_SECTORS],
    [BLK_CONFIG.MaxWriteZeroesSeg, BLK_MAX_RANGES],
  ];
  for (const [offset, value] of words) view.setUint32(offset, value, true);
  view.setUint8(BLK_CONFIG.WriteZeroesMayUnmap, 1);
  return new Uint8Array(view.buffer);
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}

/** A 64-bit sector number in bytes; inexact where it lies far beyond any disk. */
function byteOffset(view: DataView, low: number, high: number): number {
  const sector = view.getUint32(high, true) * 0x1_0000_0000 + view.getUint32(low, true);
  return sector * SECTOR_BYTES;
}
