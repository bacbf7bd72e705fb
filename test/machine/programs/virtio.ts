/**
 * A guest that drives every virtio device, and the slow devices beside them, from a script of
 * register writes. Rings and buffers lie ready in the image, each in a page of its own.
 */
import { assert } from "@dejavm/base";
import type { InputEvent } from "@dejavm/machine";
import { Assembler, REG } from "../support/assembler.ts";
import type { Program, ScriptedInput } from "../support/guest.ts";

const BASE = 0x8000_0000;
const PAGE = 4096;
const SCRIPT = BASE + 0x1000;
const SCRATCH = BASE + 0xf000;
const RINGS = BASE + 0x1_0000;
const IMAGE_BYTES = 0x10_0000;
const { zero, t0, t1, t2, s0, s1 } = REG;

/** virtio 1.2, section 4.2.2. */
const MMIO = {
  driverFeatures: 0x20,
  driverFeaturesSel: 0x24,
  queueSel: 0x30,
  queueNum: 0x38,
  queueReady: 0x44,
  queueNotify: 0x50,
  interruptAck: 0x64,
  status: 0x70,
  queueDesc: 0x80,
  queueDriver: 0x90,
  queueDevice: 0xa0,
} as const;
const DISK = 0x1000_1000;
const NET = 0x1000_5000;
const CONSOLE = 0x1000_6000;
const ENTROPY = 0x1000_7000;
const BUTTON = 0x1000_8000;
const UART = 0x1000_0000;
const RTC = 0x10_1000;
const QUEUE_SIZE = 8;
const WRITE = 2;
const NEXT = 1;
/** A script entry whose address is this one waits for as many rounds as its value says. */
const DELAY = 4;

/** Bytes that the device reads, or the size of a buffer that it fills. */
type Buffer = Uint8Array | number;

class Script {
  readonly #a: Assembler;
  readonly #entries: [number, number][] = [];
  #next = RINGS;

  constructor(a: Assembler) {
    this.#a = a;
  }

  write(address: number, value: number): void {
    this.#entries.push([address, value]);
  }

  delay(rounds: number): void {
    this.#entries.push([DELAY, rounds]);
  }

  start(device: number): void {
    for (const status of [0, 1, 3]) this.write(device + MMIO.status, status);
    this.write(device + MMIO.driverFeaturesSel, 1);
    this.write(device + MMIO.driverFeatures, 1);
    this.write(device + MMIO.status, 11);
  }

  go(device: number): void {
    this.write(device + MMIO.status, 15);
  }

  /** A queue with `requests`, none of them available yet; returns the available ring's address. */
  queue(device: number, index: number, requests: readonly (readonly Buffer[])[]): number {
    const descriptors = this.#page();
    const available = this.#page();
    const used = this.#page();
    let next = 0;
    for (const [slot, buffers] of requests.entries()) {
      this.#put16(available + 4 + slot * 2, next);
      for (const [i, buffer] of buffers.entries()) {
        const at = descriptors + 16 * next++;
        const content = this.#page();
        const last = i === buffers.length - 1;
        const flags = (typeof buffer === "number" ? WRITE : 0) | (last ? 0 : NEXT);
        // Near a page's end, so that longer buffers have two pages.
        const address = content + PAGE - 8;
        this.#page();
        this.#put32(at, address);
        this.#put32(at + 8, typeof buffer === "number" ? buffer : buffer.length);
        this.#put16(at + 12, flags);
        this.#put16(at + 14, last ? 0 : next);
        if (typeof buffer !== "number") this.#bytes(address, buffer);
      }
    }
    assert(next <= QUEUE_SIZE, "the requests fit into the queue");
    this.write(device + MMIO.queueSel, index);
    this.write(device + MMIO.queueNum, QUEUE_SIZE);
    this.write(device + MMIO.queueDesc, descriptors);
    this.write(device + MMIO.queueDriver, available);
    this.write(device + MMIO.queueDevice, used);
    this.write(device + MMIO.queueReady, 1);
    return available;
  }

  /** Makes the first `count` requests available, tells the device, and acknowledges. */
  offer(device: number, queue: number, available: number, count: number): void {
    this.write(available, count << 16);
    this.write(device + MMIO.queueNotify, queue);
    this.write(device + MMIO.interruptAck, 3);
  }

  emit(): void {
    this.#a.org(SCRIPT - BASE);
    for (const [address, value] of [...this.#entries, [0, 0] as const]) {
      this.#a.word(address);
      this.#a.word(value);
    }
  }

  #page(): number {
    const page = this.#next;
    this.#next += PAGE;
    assert(this.#next <= BASE + IMAGE_BYTES, "rings and buffers fit into the image");
    return page;
  }
  #put16(address: number, value: number): void {
    this.#a.org(address - BASE);
    this.#a.half(value);
  }
  #put32(address: number, value: number): void {
    this.#a.org(address - BASE);
    this.#a.word(value);
  }
  #bytes(address: number, bytes: Uint8Array): void {
    this.#a.org(address - BASE);
    this.#a.bytes(bytes);
  }
}

const text = (value: string): Uint8Array => new TextEncoder().encode(value);

function blockHeader(type: number, sector: number): Uint8Array {
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint32(0, type, true);
  view.setUint32(8, sector, true);
  return header;
}

const FRAME = (fill: number): Uint8Array => new Uint8Array(12 + 60).fill(fill, 12);
const SECTORS_PER_CHUNK = 128;

/** Reads and writes over chunk borders, reads back, frees. */
function disk(script: Script): void {
  script.start(DISK);
  const zeroes = new Uint8Array(16);
  new DataView(zeroes.buffer).setUint32(0, 4 * SECTORS_PER_CHUNK, true);
  new DataView(zeroes.buffer).setUint32(8, SECTORS_PER_CHUNK, true);
  const ring = script.queue(DISK, 0, [
    [blockHeader(0, SECTORS_PER_CHUNK - 1), 1024, 1],
    [blockHeader(1, 2 * SECTORS_PER_CHUNK - 1), new Uint8Array(1024).fill(0xee), 1],
  ]);
  script.go(DISK);
  script.offer(DISK, 0, ring, 1);
  script.delay(5);
  script.offer(DISK, 0, ring, 2);
  // The queue again, with other requests.
  script.write(DISK + MMIO.status, 0);
  script.start(DISK);
  const second = script.queue(DISK, 0, [
    [blockHeader(13, 0), zeroes, 1],
    [blockHeader(0, 2 * SECTORS_PER_CHUNK), 512, 1],
  ]);
  script.go(DISK);
  script.offer(DISK, 0, second, 2);
}

/** Sends, then receives what came meanwhile. */
function network(script: Script): void {
  script.start(NET);
  const receive = script.queue(NET, 0, [[100], [100], [1600]]);
  const send = script.queue(NET, 1, [[FRAME(1)], [FRAME(2).subarray(0, 20), FRAME(3)]]);
  script.go(NET);
  script.offer(NET, 1, send, 1);
  script.offer(NET, 0, receive, 1);
  script.delay(30);
  script.offer(NET, 0, receive, 3);
  script.offer(NET, 1, send, 2);
}

function consoleAndEntropy(script: Script): void {
  script.start(CONSOLE);
  const input = script.queue(CONSOLE, 0, [[16], [4], [16]]);
  const output = script.queue(CONSOLE, 1, [[text("hello ")], [text("from "), text("hvc")]]);
  for (const queue of [2, 3, 4, 5]) script.queue(CONSOLE, queue, []);
  script.go(CONSOLE);
  script.offer(CONSOLE, 1, output, 2);
  script.offer(CONSOLE, 0, input, 1);
  script.delay(30);
  script.offer(CONSOLE, 0, input, 3);
  script.start(ENTROPY);
  const entropy = script.queue(ENTROPY, 0, [[32], [100]]);
  script.go(ENTROPY);
  script.offer(ENTROPY, 0, entropy, 1);
  script.delay(10);
  script.offer(ENTROPY, 0, entropy, 2);
}

function slowDevices(script: Script): void {
  for (const byte of text("uart")) script.write(UART, byte);
  script.write(RTC + 0x0c, 0x1797_9cfe);
  script.write(RTC + 0x10, 1);
  script.write(RTC + 0x08, 0x362a_2710);
  script.start(BUTTON);
  const events = script.queue(BUTTON, 0, [[8], [8], [8], [8]]);
  script.queue(BUTTON, 1, []);
  script.go(BUTTON);
  script.offer(BUTTON, 0, events, 2);
  script.delay(30);
  script.offer(BUTTON, 0, events, 4);
}

function emitInterpreter(a: Assembler): void {
  a.label("again");
  a.li(s0, SCRIPT);
  a.label("step");
  a.i("lwu", t0, s0, 0);
  a.i("lw", t1, s0, 4);
  a.i("addi", s0, s0, 8);
  a.branch("beq", t0, zero, "done");
  a.i("addi", t2, t0, -DELAY);
  a.branch("beq", t2, zero, "delay");
  a.store("sw", t1, t0, 0);
  a.jal(zero, "step");
  a.label("delay");
  a.i("addi", t1, t1, -1);
  a.branch("bne", t1, zero, "delay");
  a.jal(zero, "step");
  a.label("done");
  a.li(s1, SCRATCH);
  a.label("idle");
  a.i("ld", t0, s1, 0);
  a.i("addi", t0, t0, 1);
  a.store("sd", t0, s1, 0);
  a.jal(zero, "idle");
}

const frame = (fill: number, length: number): InputEvent => {
  return { kind: "frame", bytes: new Uint8Array(length).fill(fill) };
};

/** See the head of this file. */
export function virtioProgram(): Program {
  const a = new Assembler(BASE, IMAGE_BYTES);
  const script = new Script(a);
  disk(script);
  network(script);
  consoleAndEntropy(script);
  slowDevices(script);
  a.org(0);
  emitInterpreter(a);
  script.emit();
  const inputs: ScriptedInput[] = [
    { at: 40, event: { kind: "console", port: "uart", bytes: text("early") } },
    { at: 100, event: { kind: "clock", rate: (1n << 32n) / 7n, step: 0n } },
    { at: 478, event: frame(0x11, 60) },
    { at: 482, event: frame(0x22, 88) },
    { at: 510, event: frame(0x33, 1500) },
    { at: 520, event: { kind: "link", up: false } },
    { at: 530, event: { kind: "link", up: true } },
    { at: 1215, event: { kind: "entropy", seed: new Uint8Array(32).fill(9) } },
    { at: 990, event: { kind: "console", port: "hvc", bytes: text("typed before it was read") } },
    { at: 1020, event: { kind: "console", port: "agent", bytes: text("agent") } },
    { at: 1240, event: { kind: "clock", rate: (1n << 32n) / 9n, step: 1000n } },
    { at: 1500, event: { kind: "power-button" } },
    { at: 1560, event: { kind: "power-button" } },
    { at: 1600, event: { kind: "console", port: "uart", bytes: text("late") } },
  ];
  return {
    name: "virtio devices",
    image: a.finish(),
    length: 1750,
    inputs: inputs.toSorted((one, other) => one.at - other.at),
    config: {
      disks: [{ sizeBytes: 8 * 65_536, readOnly: false, serial: "test" }],
      net: { mac: Uint8Array.of(2, 0, 0, 0, 0, 1) },
    },
  };
}
