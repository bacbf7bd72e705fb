/** Routes MMIO accesses to devices by guest physical address. */
import { assert } from "@dejavm/base";
import type { AccessWidth, Device, Missing } from "../device/device.ts";
import type { Region } from "./memory-map.ts";

/** What an access came to. */
export type BusResult =
  | { readonly kind: "done"; readonly value: bigint }
  | { readonly kind: "access-fault" }
  | { readonly kind: "missing"; readonly missing: Missing };

interface Mapping {
  readonly region: Region;
  readonly device: Device;
}

const FAULT: BusResult = { kind: "access-fault" };

/** The devices below RAM. */
export class Bus {
  readonly #mappings: Mapping[] = [];

  attach(region: Region, device: Device): void {
    const clash = this.#mappings.find(({ region: other }) => overlaps(region, other));
    assert(clash === undefined, `${device.name} overlaps ${clash?.device.name}`);
    this.#mappings.push({ region, device });
  }

  get devices(): readonly Device[] {
    return this.#mappings.map(({ device }) => device);
  }

  /** Reads 1, 2, 4 or 8 bytes, aligned; 8 as two of 4, low half first. */
  read(address: number, size: number): BusResult {
    const found = this.#find(address, size);
    if (found === undefined) return FAULT;
    const { device, region } = found;
    const offset = address - region.base;
    if (size < 8) return done(BigInt(device.read(offset, size as AccessWidth) >>> 0));
    const low = BigInt(device.read(offset, 4) >>> 0);
    const high = BigInt(device.read(offset + 4, 4) >>> 0);
    return done((high << 32n) | low);
  }

  write(address: number, size: number, value: bigint): BusResult {
    const found = this.#find(address, size);
    if (found === undefined) return FAULT;
    const { device, region } = found;
    const offset = address - region.base;
    const low = Number(BigInt.asUintN(32, value));
    const missing = device.write(offset, Math.min(size, 4) as AccessWidth, maskTo(low, size));
    if (missing !== undefined) return { kind: "missing", missing };
    if (size === 8) {
      // Registers that can lack something come after ones whose write may be repeated.
      const second = device.write(offset + 4, 4, Number(BigInt.asUintN(32, value >> 32n)));
      if (second !== undefined) return { kind: "missing", missing: second };
    }
    return done(0n);
  }

  #find(address: number, size: number): Mapping | undefined {
    const width = Math.min(size, 4) as AccessWidth;
    const mapping = this.#mappings.find(
      ({ region }) => address >= region.base && address + size <= region.base + region.size,
    );
    return mapping?.device.widths.includes(width) === true ? mapping : undefined;
  }
}

function done(value: bigint): BusResult {
  return { kind: "done", value };
}

function maskTo(value: number, size: number): number {
  return size >= 4 ? value : value & ((1 << (size * 8)) - 1);
}

function overlaps(a: Region, b: Region): boolean {
  return a.base < b.base + b.size && b.base < a.base + a.size;
}
