/**
 * The virtio console device with two ports: port 0 is a console (`hvc0`), port 1 the command
 * agent's channel. The host's side of both is always open. Input waits, within bounds, until the
 * guest has opened the port and posted buffers; output goes to the sink inside the notification.
 */
import type { FieldReader } from "../../../snapshot/fields.ts";
import type { Missing, OutputSink, State } from "../../device.ts";
import type { Chain } from "../chain.ts";
import { assignBuffers } from "../deliver.ts";
import { VirtioMmio, type VirtioOptions, type Work } from "../mmio.ts";
import { Shortage } from "../shortage.ts";
import { DEVICE_ID } from "../wire.ts";
import {
  AGENT_PORT_NAME,
  CONSOLE_CONFIG,
  CONSOLE_FEATURE,
  CONSOLE_QUEUE_SIZE,
  CONTROL,
  CONTROL_EVENT,
  CONTROL_QUEUE,
  MAX_WAITING_INPUT_BYTES,
} from "./wire.ts";

/** The console's ports, by the names that inputs and outputs use. */
export type VirtioConsolePort = "hvc" | "agent";

/** What a console device is connected to. */
export interface VirtioConsoleOptions extends VirtioOptions {
  readonly output: OutputSink;
}

/** A port's number in messages, and its queues. */
interface PortShape {
  readonly id: number;
  readonly name: VirtioConsolePort;
  readonly receiveQueue: number;
  readonly transmitQueue: number;
  /** Messages that follow the driver's PORT_READY. */
  readonly introduction: number;
}

/** What distinguishes a port from a fresh one. */
interface PortState {
  /** The driver has opened its side (only ever with MULTIPORT). */
  readonly guestOpen: boolean;
  /** Messages that wait for a control buffer: bits of `PENDING`. */
  readonly pending: number;
  readonly input: Uint8Array;
}

/** Messages to the driver about one port, in the order in which they are sent. */
const PENDING = { Add: 1, Console: 2, Name: 4, Open: 8 } as const;
const PENDING_ORDER = [PENDING.Add, PENDING.Console, PENDING.Name, PENDING.Open];

const PORTS: readonly PortShape[] = [
  {
    id: 0,
    name: "hvc",
    receiveQueue: 0,
    transmitQueue: 1,
    introduction: PENDING.Console | PENDING.Open,
  },
  {
    id: 1,
    name: "agent",
    receiveQueue: 4,
    transmitQueue: 5,
    introduction: PENDING.Name | PENDING.Open,
  },
];
const QUEUE_COUNT = 6;
const NO_INPUT = new Uint8Array(0);
const FRESH: PortState = { guestOpen: false, pending: 0, input: NO_INPUT };

/** A message to the driver that waits for a control buffer. */
interface PendingMessage {
  readonly port: PortShape;
  readonly bit: number;
  readonly bytes: Uint8Array;
}

/** A console and a channel for the agent on the virtio-mmio bus. */
export class VirtioConsole extends VirtioMmio {
  readonly #output: OutputSink;
  #ports: readonly PortState[] = PORTS.map(() => FRESH);

  constructor(options: VirtioConsoleOptions) {
    super(options, {
      deviceId: DEVICE_ID.Console,
      features: [CONSOLE_FEATURE.Multiport],
      queueSizes: Array.from({ length: QUEUE_COUNT }, () => CONSOLE_QUEUE_SIZE),
      config: consoleConfig(),
    });
    this.#output = options.output;
  }

  /** How many more bytes of input the port takes. */
  room(port: VirtioConsolePort): number {
    return MAX_WAITING_INPUT_BYTES - this.#ports[shapeOf(port).id].input.length;
  }

  /** Whether the guest takes input from the port now: it has it open. */
  isOpen(port: VirtioConsolePort): boolean {
    const { id } = shapeOf(port);
    return this.live && this.#takesInput(id, this.#ports[id]);
  }

  /** Input for the guest. What is beyond `room(port)` is lost. */
  receive(port: VirtioConsolePort, bytes: Uint8Array): Missing | undefined {
    const { id } = shapeOf(port);
    const state = this.#ports[id];
    const accepted = bytes.subarray(0, this.room(port));
    const input = new Uint8Array(state.input.length + accepted.length);
    input.set(state.input);
    input.set(accepted, state.input.length);
    const shortage = new Shortage();
    const work = this.#planInput(id, { ...state, input }, shortage);
    if (!shortage.any) work();
    return shortage.toMissing();
  }

  protected override plan(index: number, shortage: Shortage): Work {
    if (index === CONTROL_QUEUE.Receive) return this.#planMessages(this.#ports, shortage);
    if (index === CONTROL_QUEUE.Transmit) return this.#planControl(shortage);
    const port = PORTS.find((shape) => shape.receiveQueue === index);
    if (port !== undefined) return this.#planInput(port.id, this.#ports[port.id], shortage);
    return this.#planOutput(index, shortage);
  }

  /** Input stays: it waits for the next driver. */
  protected override resetDevice(): void {
    this.#ports = this.#ports.map(({ input }) => ({ ...FRESH, input }));
  }

  protected override saveDevice(): State {
    return {
      ports: this.#ports.map(({ guestOpen, pending, input }) => {
        return { guestOpen, pending, input: input.slice() };
      }),
    };
  }

  protected override restoreDevice(f: FieldReader): void {
    const ports = f.records("ports", PORTS.length);
    if (ports.length !== PORTS.length) throw f.invalid("ports", `a list of ${PORTS.length}`);
    const allPending = PENDING_ORDER.reduce((sum, bit) => sum | bit, 0);
    this.#ports = ports.map((port) => {
      const guestOpen = port.bool("guestOpen");
      const pending = port.integer("pending", { min: 0, max: allPending });
      const input = port.bytes("input", { maxLength: MAX_WAITING_INPUT_BYTES });
      port.end();
      return { guestOpen, pending, input };
    });
    f.end();
  }

  #setPort(id: number, state: PortState): void {
    this.#ports = this.#ports.with(id, state);
  }

  /** Without MULTIPORT there is only port 0, and it is always open. */
  #takesInput(id: number, { guestOpen }: PortState): boolean {
    return this.negotiated(CONSOLE_FEATURE.Multiport) ? guestOpen : id === 0;
  }

  /** Gives the port `state`, with as much of its input as possible moved into posted buffers. */
  #planInput(id: number, state: PortState, shortage: Shortage): Work {
    const index = PORTS[id].receiveQueue;
    if (!this.usable(index) || !this.#takesInput(id, state) || state.input.length === 0) {
      return () => this.#setPort(id, state);
    }
    const queue = this.queues[index];
    const scan = queue.scan(shortage.pages);
    const filled: { readonly chain: Chain; readonly bytes: Uint8Array }[] = [];
    let taken = 0;
    while (taken < state.input.length) {
      const chain = scan.next();
      if (chain === undefined) break;
      const bytes = state.input.subarray(taken, taken + chain.writable.byteLength);
      filled.push({ chain, bytes });
      taken += bytes.length;
    }
    return () => {
      for (const { chain, bytes } of filled) {
        chain.writable.write(this.memory, 0, bytes);
        queue.push(chain, bytes.length);
      }
      this.#setPort(id, { ...state, input: state.input.slice(taken) });
      this.finish(queue, scan);
    };
  }

  #planOutput(index: number, shortage: Shortage): Work {
    const port = PORTS.find((shape) => shape.transmitQueue === index);
    const queue = this.queues[index];
    const scan = queue.scan(shortage.pages);
    const chains: Chain[] = [];
    for (let chain = scan.next(); chain !== undefined; chain = scan.next()) chains.push(chain);
    return () => {
      for (const chain of chains) {
        const bytes = chain.readable.read(this.memory, 0, chain.readable.byteLength);
        if (port !== undefined && bytes.length > 0) {
          this.#output({ kind: "console", port: port.name, bytes });
        }
        queue.push(chain, 0);
      }
      this.finish(queue, scan);
    };
  }

  /** The driver's control messages, what they are answered, and the input that they let through. */
  #planControl(shortage: Shortage): Work {
    const queue = this.queues[CONTROL_QUEUE.Transmit];
    const scan = queue.scan(shortage.pages);
    const chains: Chain[] = [];
    let ports = this.#ports;
    for (let chain = scan.next(); chain !== undefined; chain = scan.next()) {
      chains.push(chain);
      const { readable } = chain;
      if (readable.byteLength < CONTROL.Bytes) continue;
      if (!readable.present(this.memory, 0, CONTROL.Bytes)) continue;
      ports = afterMessage(ports, readable.read(this.memory, 0, CONTROL.Bytes));
    }
    const answer = this.#planMessages(ports, shortage);
    const inputs = PORTS.map(({ id }) => {
      return { id, work: this.#planInput(id, ports[id], shortage) };
    });
    return () => {
      for (const chain of chains) queue.push(chain, 0);
      this.finish(queue, scan);
      for (const { work } of inputs) work();
      answer();
    };
  }

  /** Sends what is pending in `ports`, as far as control buffers go, and keeps the rest. */
  #planMessages(ports: readonly PortState[], shortage: Shortage): Work {
    const index = CONTROL_QUEUE.Receive;
    const messages = pendingMessages(ports);
    if (messages.length === 0 || !this.usable(index)) return () => this.#setPending(ports);
    const queue = this.queues[index];
    const scan = queue.scan(shortage.pages);
    const assigned = assignBuffers(
      scan,
      messages.map(({ bytes }) => bytes.length),
    );
    return () => {
      const left = ports.map(({ pending }) => pending);
      for (const [i, chain] of assigned.entries()) {
        const { port, bit, bytes } = messages[i];
        left[port.id] &= ~bit;
        if (chain === undefined) continue;
        chain.writable.write(this.memory, 0, bytes);
        queue.push(chain, bytes.length);
      }
      this.#setPending(left.map((pending) => ({ pending })));
      this.finish(queue, scan);
    };
  }

  #setPending(ports: readonly { readonly pending: number }[]): void {
    this.#ports = this.#ports.map((state, id) => ({ ...state, pending: ports[id].pending }));
  }
}

function shapeOf(port: VirtioConsolePort): PortShape {
  return port === "hvc" ? PORTS[0] : PORTS[1];
}

/** The ports after a control message from the driver; messages without meaning change nothing. */
function afterMessage(ports: readonly PortState[], message: Uint8Array): readonly PortState[] {
  const view = new DataView(message.buffer, message.byteOffset, message.length);
  const id = view.getUint32(CONTROL.Id, true);
  const set = view.getUint16(CONTROL.Value, true) !== 0;
  const event = view.getUint16(CONTROL.Event, true);
  if (event === CONTROL_EVENT.DeviceReady) {
    return set ? ports.map((port) => ({ ...port, pending: PENDING.Add })) : ports;
  }
  const port: PortState | undefined = ports[id];
  if (port === undefined) return ports;
  if (event === CONTROL_EVENT.PortReady && set) {
    return ports.with(id, { ...port, pending: port.pending | PORTS[id].introduction });
  }
  if (event === CONTROL_EVENT.PortOpen) return ports.with(id, { ...port, guestOpen: set });
  return ports;
}

function pendingMessages(ports: readonly PortState[]): PendingMessage[] {
  const messages: PendingMessage[] = [];
  for (const port of PORTS) {
    for (const bit of PENDING_ORDER) {
      if ((ports[port.id].pending & bit) === 0) continue;
      messages.push({ port, bit, bytes: encodeMessage(port.id, bit) });
    }
  }
  return messages;
}

function encodeMessage(id: number, bit: number): Uint8Array {
  const name = bit === PENDING.Name ? AGENT_PORT_NAME : "";
  const bytes = new Uint8Array(CONTROL.Bytes + name.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(CONTROL.Id, id, true);
  view.setUint16(CONTROL.Event, eventOf(bit), true);
  view.setUint16(CONTROL.Value, 1, true);
  for (let i = 0; i < name.length; i++) bytes[CONTROL.Bytes + i] = name.charCodeAt(i);
  return bytes;
}

function eventOf(bit: number): number {
  switch (bit) {
    case PENDING.Add:
      return CONTROL_EVENT.PortAdd;
    case PENDING.Console:
      return CONTROL_EVENT.ConsolePort;
    case PENDING.Name:
      return CONTROL_EVENT.PortName;
    default:
      return CONTROL_EVENT.PortOpen;
  }
}

function consoleConfig(): Uint8Array {
  const bytes = new Uint8Array(CONSOLE_CONFIG.Bytes);
  new DataView(bytes.buffer).setUint32(CONSOLE_CONFIG.MaxPorts, PORTS.length, true);
  return bytes;
}
