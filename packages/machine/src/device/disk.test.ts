import { CodedError, Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { CHUNK_BYTES } from "./device.ts";
import { type ChangedChunk, Disk, MAX_CLEAN_CHUNKS, MAX_DIRTY_CHUNKS } from "./disk.ts";

/** FNV-1a in 128 bits over every 61st byte and the last: cheap, and good enough for tests. */
function hash(bytes: Uint8Array): bigint {
  let value = 0x6c62272e07bb014262b821756295c58dn;
  for (let i = 0; i < bytes.length; i += 61) value = step(value, bytes[i] ?? 0);
  return step(value, bytes[bytes.length - 1] ?? 0);
}

function step(value: bigint, byte: number): bigint {
  return BigInt.asUintN(128, (value ^ BigInt(byte)) * 0x1000000000000000000013bn);
}

const SIZE = 8 * CHUNK_BYTES + 1024;

function makeDisk(sizeBytes = SIZE): Disk {
  return new Disk({ index: 2, sizeBytes, hash });
}

/** The base image: chunk n is full of n+1, up to the disk's end. */
function baseChunk(chunk: number, sizeBytes = SIZE): Uint8Array {
  const bytes = new Uint8Array(CHUNK_BYTES);
  return bytes.fill(chunk + 1, 0, sizeBytes - chunk * CHUNK_BYTES);
}

function absentForRead(disk: Disk, offset: number, length: number): number[] {
  const absent = new Set<number>();
  disk.probeRead(offset, length, absent);
  return [...absent];
}

function absentForWrite(disk: Disk, offset: number, length: number): number[] {
  const absent = new Set<number>();
  disk.probeWrite(offset, length, absent);
  return [...absent];
}

/** An owner: base chunks and what it was handed. */
class Owner {
  readonly stored = new Map<number, ChangedChunk>();

  take(disk: Disk): void {
    for (const changed of disk.takeDirty()) this.stored.set(changed.chunk, changed);
  }

  supply(disk: Disk, chunks: readonly number[]): void {
    for (const chunk of chunks) {
      const stored = this.stored.get(chunk);
      const bytes = stored === undefined ? baseChunk(chunk, disk.sizeBytes) : stored.bytes;
      disk.supply(chunk, bytes ?? new Uint8Array(CHUNK_BYTES));
    }
  }
}

function read(disk: Disk, owner: Owner, offset: number, length: number): Uint8Array {
  owner.supply(disk, absentForRead(disk, offset, length));
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length; ) {
    const part = disk.view(offset + done, length - done);
    bytes.set(part, done);
    done += part.length;
  }
  return bytes;
}

function write(disk: Disk, owner: Owner, offset: number, bytes: Uint8Array): void {
  owner.supply(disk, absentForWrite(disk, offset, bytes.length));
  const middle = Math.floor(bytes.length / 3);
  disk.write(offset, bytes.length, [bytes.subarray(0, middle), bytes.subarray(middle)]);
}

describe("a disk", () => {
  test("asks for the chunks that a read touches and a write covers in part", () => {
    const disk = makeDisk();
    expect(absentForRead(disk, CHUNK_BYTES - 512, 1024)).toEqual([0, 1]);
    expect(absentForWrite(disk, CHUNK_BYTES - 512, 512 + CHUNK_BYTES)).toEqual([0]);
    expect(absentForWrite(disk, 8 * CHUNK_BYTES, 1024)).toEqual([]);
    expect(absentForWrite(disk, 8 * CHUNK_BYTES, 512)).toEqual([8]);
    expect(absentForRead(disk, 0, 0)).toEqual([]);
  });

  test("hands each changed chunk out once, and asks for it when it is no longer cached", () => {
    const disk = makeDisk();
    const owner = new Owner();
    write(disk, owner, 512, new Uint8Array(512).fill(9));
    write(disk, owner, 1024, new Uint8Array(512).fill(9));
    expect(disk.takeDirty().map(({ chunk }) => chunk)).toEqual([0]);
    expect(disk.takeDirty()).toEqual([]);
    expect(absentForRead(disk, 0, 512)).toEqual([]);
    const restored = makeDisk();
    restored.restore(disk.save());
    expect(absentForRead(restored, 0, 512)).toEqual([0]);
  });

  test("never changes bytes that it was supplied with or handed out", () => {
    const disk = makeDisk();
    const owner = new Owner();
    const base = baseChunk(0);
    disk.supply(0, base);
    write(disk, owner, 0, new Uint8Array(512).fill(77));
    expect(base).toEqual(baseChunk(0));
    owner.take(disk);
    const handed = owner.stored.get(0)?.bytes?.slice();
    write(disk, owner, 0, new Uint8Array(512).fill(78));
    expect(owner.stored.get(0)?.bytes).toEqual(handed);
  });

  test("discards whole chunks only and stores nothing for them", () => {
    const disk = makeDisk();
    const owner = new Owner();
    disk.discard(512, 2 * CHUNK_BYTES);
    expect(disk.takeDirty()).toEqual([{ chunk: 1, bytes: undefined }]);
    disk.writeZeroes(CHUNK_BYTES + 512, 512);
    expect(disk.takeDirty()).toEqual([]);
    expect([...disk.overlay()]).toEqual([{ chunk: 1, hash: undefined }]);
    expect(read(disk, owner, CHUNK_BYTES, 512)).toEqual(new Uint8Array(512));
    expect(read(disk, owner, 0, 512)).toEqual(new Uint8Array(512).fill(1));
  });

  test("keeps clean chunks within the limit, and those just probed", () => {
    const disk = makeDisk(2 * MAX_CLEAN_CHUNKS * CHUNK_BYTES);
    const bytes = new Uint8Array(CHUNK_BYTES);
    for (let chunk = 0; chunk < MAX_CLEAN_CHUNKS; chunk++) disk.supply(chunk, bytes);
    expect(absentForRead(disk, 0, 1)).toEqual([]);
    disk.supply(MAX_CLEAN_CHUNKS, bytes);
    expect(disk.cleanCount).toBe(MAX_CLEAN_CHUNKS);
    expect(absentForRead(disk, 0, 1)).toEqual([]);
    expect(absentForRead(disk, CHUNK_BYTES, 1)).toEqual([1]);
  });

  test("asks for a changed chunk when too many wait for the owner", () => {
    const disk = makeDisk((MAX_DIRTY_CHUNKS + 1) * CHUNK_BYTES);
    const part = new Uint8Array(CHUNK_BYTES);
    const ask = (count: number) => {
      const absent = new Set<number>();
      disk.probeRoom(count, absent);
      return [...absent];
    };
    for (let i = 0; i < MAX_DIRTY_CHUNKS; i++) disk.write(i * CHUNK_BYTES, CHUNK_BYTES, [part]);
    expect(ask(0)).toEqual([]);
    expect(ask(1)).toEqual([0]);
    disk.takeDirty();
    expect(ask(1)).toEqual([]);
    expect(disk.cleanCount).toBe(MAX_CLEAN_CHUNKS);
  });

  test("ignores supplies of what it has", () => {
    const disk = makeDisk();
    const owner = new Owner();
    write(disk, owner, 0, new Uint8Array(CHUNK_BYTES).fill(5));
    disk.discard(CHUNK_BYTES, CHUNK_BYTES);
    disk.supply(0, baseChunk(0));
    disk.supply(1, baseChunk(1));
    expect(read(disk, owner, 0, 1)[0]).toBe(5);
    expect(read(disk, owner, CHUNK_BYTES, 1)[0]).toBe(0);
  });
});

describe("the overlay's digest", () => {
  test("does not depend on the order of writes, on taking or on caching", () => {
    const one = makeDisk();
    const other = makeDisk();
    const owner = new Owner();
    const [a, b] = [new Uint8Array(512).fill(100), new Uint8Array(CHUNK_BYTES).fill(101)];
    write(one, owner, 0, a);
    one.overlayDigest();
    write(one, owner, CHUNK_BYTES, b);
    one.takeDirty();
    one.discard(5 * CHUNK_BYTES, CHUNK_BYTES);
    other.discard(5 * CHUNK_BYTES, CHUNK_BYTES);
    write(other, owner, CHUNK_BYTES, a);
    other.takeDirty();
    write(other, owner, CHUNK_BYTES, b);
    write(other, owner, 0, a);
    expect(one.overlayDigest()).toBe(other.overlayDigest());
    expect(one.overlayDigest()).not.toBe(0n);
    expect(one.save()).toEqual(other.save());
  });

  test("tells apart contents, chunks and kinds", () => {
    const owner = new Owner();
    const digests = [
      () => {},
      (disk: Disk) => write(disk, owner, 0, new Uint8Array(CHUNK_BYTES).fill(1)),
      (disk: Disk) => write(disk, owner, 0, new Uint8Array(CHUNK_BYTES).fill(2)),
      (disk: Disk) => write(disk, owner, CHUNK_BYTES, new Uint8Array(CHUNK_BYTES).fill(1)),
      (disk: Disk) => write(disk, owner, 0, new Uint8Array(CHUNK_BYTES)),
      (disk: Disk) => disk.discard(0, CHUNK_BYTES),
      (disk: Disk) => disk.discard(0, 2 * CHUNK_BYTES),
    ].map((change) => {
      const disk = makeDisk();
      change(disk);
      return disk.overlayDigest();
    });
    expect(new Set(digests).size).toBe(digests.length);
  });
});

describe("a disk's snapshot", () => {
  test("restores overlay, hashes and digest into a used disk", () => {
    const disk = makeDisk();
    const owner = new Owner();
    write(disk, owner, 3 * CHUNK_BYTES + 512, new Uint8Array(1024).fill(50));
    disk.discard(0, CHUNK_BYTES);
    owner.take(disk);
    const used = makeDisk();
    write(used, owner, CHUNK_BYTES, new Uint8Array(CHUNK_BYTES));
    used.discard(4 * CHUNK_BYTES, CHUNK_BYTES);
    used.supply(3, baseChunk(3));
    used.overlayDigest();
    used.restore(disk.save());
    expect(used.save()).toEqual(disk.save());
    expect(used.overlayDigest()).toBe(disk.overlayDigest());
    expect(used.takeDirty()).toEqual([]);
    expect(read(used, owner, 0, SIZE)).toEqual(read(disk, owner, 0, SIZE));
  });

  const numbers = (...values: number[]) => new Uint8Array(new Uint32Array(values).buffer);
  test.each([
    ["a chunk beyond the disk", { zeroChunks: numbers(9) }],
    ["chunks out of order", { zeroChunks: numbers(2, 1) }],
    ["a chunk twice", { zeroChunks: numbers(1, 1) }],
    ["a chunk of two kinds", { zeroChunks: numbers(0) }],
    ["part of a number", { zeroChunks: new Uint8Array(3) }],
    ["fewer hashes than chunks", { dataHashes: new Uint8Array(15) }],
    ["too many chunks", { zeroChunks: new Uint8Array(40) }],
  ])("with %s is refused", (_title, change) => {
    const disk = makeDisk();
    disk.write(0, CHUNK_BYTES, [new Uint8Array(CHUNK_BYTES)]);
    const state = disk.save();
    disk.restore(state);
    expect(() => disk.restore({ ...state, ...change })).toThrow(CodedError);
  });
});

test("random operations read as on a plain array, whatever is cached", () => {
  const prng = new Prng(65_536);
  const model = new Uint8Array(SIZE);
  for (let chunk = 0; chunk <= 8; chunk++) {
    model.set(baseChunk(chunk).subarray(0, SIZE - chunk * CHUNK_BYTES), chunk * CHUNK_BYTES);
  }
  let disk = makeDisk();
  const owner = new Owner();
  for (let i = 0; i < 3000; i++) {
    const offset = prng.below(SIZE / 512) * 512;
    const longest = (SIZE - offset) / 512;
    const length = 512 * (1 + prng.below(prng.oneIn(3) ? longest : Math.min(longest, 8)));
    switch (prng.below(7)) {
      case 0:
      case 1: {
        const bytes = new Uint8Array(length).fill(prng.u32());
        write(disk, owner, offset, bytes);
        model.set(bytes, offset);
        break;
      }
      case 2: {
        owner.supply(disk, absentForWrite(disk, offset, length));
        disk.writeZeroes(offset, length);
        model.fill(0, offset, offset + length);
        break;
      }
      case 3: {
        const start = Math.ceil(offset / CHUNK_BYTES) * CHUNK_BYTES;
        const end = offset + length === SIZE ? SIZE : offset + length;
        disk.discard(start, Math.max(0, end - start));
        const whole = end === SIZE ? SIZE : Math.floor(end / CHUNK_BYTES) * CHUNK_BYTES;
        if (whole > start) model.fill(0, start, whole);
        break;
      }
      case 4:
        owner.take(disk);
        if (prng.oneIn(4)) {
          const other = makeDisk();
          other.restore(disk.save());
          expect(other.overlayDigest()).toBe(disk.overlayDigest());
          disk = other;
        }
        break;
      default: {
        const same = read(disk, owner, offset, length).every((byte, at) => {
          return byte === model[offset + at];
        });
        expect(same).toBe(true);
      }
    }
  }
});
