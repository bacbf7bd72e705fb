/**
 * A 16550A serial port. The line has no speed: bytes leave within the store that writes them, and
 * whatever the FIFO has no room for waits in a queue behind it, so nothing overruns until that is
 * full. A receive FIFO below its trigger level reports the character timeout at once.
 */
import { fields } from "../../snapshot/fields.ts";
import type { AccessWidth, Device, IrqLine, OutputSink, State } from "../device.ts";
import * as wire from "./wire.ts";

/** Bytes that wait for the guest at most: a pasted screenful; the sender asks `room` first. */
export const UART_QUEUE_BYTES = 4096;

/** Divisor of 9,600 baud at QEMU's clock; nothing depends on it. */
const RESET_DIVISOR = 0x0c;

/** See the head of this file. */
export class Uart implements Device {
  readonly name = "uart";
  readonly widths = [1, 2, 4] as const;
  readonly #irq: IrqLine;
  readonly #output: OutputSink;
  /** Received bytes that the guest has not read, oldest at `#head`. */
  readonly #queue = new Uint8Array(UART_QUEUE_BYTES);
  #head = 0;
  #queued = 0;
  #interruptEnable = 0;
  #fifoControl = 0;
  #lineControl = 0;
  #modemControl = wire.MCR_OUT & 0x08;
  #scratch = 0;
  #divisor = RESET_DIVISOR;
  #overrun = false;
  /** "Transmitter empty" has not been read from IIR since it last became true. */
  #transmitPending = false;

  constructor(options: { readonly irq: IrqLine; readonly output: OutputSink }) {
    this.#irq = options.irq;
    this.#output = options.output;
  }

  /** Bytes that `receive` takes without loss. */
  get room(): number {
    return UART_QUEUE_BYTES - this.#queued;
  }

  /** Bytes that wait for the guest. */
  get queued(): number {
    return this.#queued;
  }

  /** Bytes arrive from outside. What exceeds `room` is lost and sets the overrun flag. */
  receive(bytes: Uint8Array): void {
    const taken = Math.min(bytes.length, this.room);
    for (let i = 0; i < taken; i++) {
      this.#queue[(this.#head + this.#queued + i) % UART_QUEUE_BYTES] = bytes[i];
    }
    this.#queued += taken;
    if (taken < bytes.length) this.#overrun = true;
    this.#update();
  }

  /** Takes up to `maxBytes` received bytes past the registers: the SBI's debug console reads so. */
  take(maxBytes: number): Uint8Array {
    const bytes = new Uint8Array(Math.min(maxBytes, this.#queued));
    for (let i = 0; i < bytes.length; i++) bytes[i] = this.#shift();
    this.#update();
    return bytes;
  }

  read(offset: number, _width: AccessWidth): number {
    switch (offset) {
      case wire.RBR_THR_DLL:
        return this.#dlab ? this.#divisor & 0xff : this.#readData();
      case wire.IER_DLM:
        return this.#dlab ? this.#divisor >> 8 : this.#interruptEnable;
      case wire.IIR_FCR:
        return this.#readIdentification();
      case wire.LCR:
        return this.#lineControl;
      case wire.MCR:
        return this.#modemControl;
      case wire.LSR:
        return this.#readLineStatus();
      case wire.MSR:
        return this.#modemStatus;
      case wire.SCR:
        return this.#scratch;
      default:
        return 0;
    }
  }

  write(offset: number, _width: AccessWidth, value: number): undefined {
    const byte = value & 0xff;
    switch (offset) {
      case wire.RBR_THR_DLL:
        if (this.#dlab) this.#divisor = (this.#divisor & 0xff00) | byte;
        else this.#transmit(byte);
        break;
      case wire.IER_DLM:
        if (this.#dlab) this.#divisor = (byte << 8) | (this.#divisor & 0xff);
        else this.#writeInterruptEnable(byte & wire.IER_MASK);
        break;
      case wire.IIR_FCR:
        this.#writeFifoControl(byte);
        break;
      case wire.LCR:
        this.#lineControl = byte;
        break;
      case wire.MCR:
        this.#modemControl = byte & wire.MCR_MASK;
        break;
      case wire.SCR:
        this.#scratch = byte;
        break;
      default:
        return;
    }
    this.#update();
  }

  save(): State {
    const received = new Uint8Array(this.#queued);
    for (let i = 0; i < received.length; i++) {
      received[i] = this.#queue[(this.#head + i) % UART_QUEUE_BYTES];
    }
    return {
      received,
      interruptEnable: this.#interruptEnable,
      fifoControl: this.#fifoControl,
      lineControl: this.#lineControl,
      modemControl: this.#modemControl,
      scratch: this.#scratch,
      divisor: this.#divisor,
      overrun: this.#overrun,
      transmitPending: this.#transmitPending,
    };
  }

  restore(state: State): void {
    const f = fields(state, this.name);
    const received = f.bytes("received", { maxLength: UART_QUEUE_BYTES });
    this.#queue.set(received);
    this.#head = 0;
    this.#queued = received.length;
    this.#interruptEnable = f.u8("interruptEnable") & wire.IER_MASK;
    this.#fifoControl = f.u8("fifoControl") & wire.FCR_KEPT;
    this.#lineControl = f.u8("lineControl");
    this.#modemControl = f.u8("modemControl") & wire.MCR_MASK;
    this.#scratch = f.u8("scratch");
    this.#divisor = f.u16("divisor");
    this.#overrun = f.bool("overrun");
    this.#transmitPending = f.bool("transmitPending");
    f.end();
    this.#update();
  }

  get #dlab(): boolean {
    return (this.#lineControl & wire.LCR_DLAB) !== 0;
  }

  get #fifoOn(): boolean {
    return (this.#fifoControl & wire.FCR_ENABLE) !== 0;
  }

  /** In loopback the outputs come back as inputs. */
  get #modemStatus(): number {
    const mcr = this.#modemControl;
    if ((mcr & wire.MCR_LOOP) === 0) return wire.MSR_CONNECTED;
    const dsr = (mcr & wire.MCR_DTR) !== 0 ? wire.MSR_DSR : 0;
    const cts = (mcr & wire.MCR_RTS) !== 0 ? wire.MSR_CTS : 0;
    return ((mcr & wire.MCR_OUT) << wire.MSR_OUT_SHIFT) | dsr | cts;
  }

  #shift(): number {
    const byte = this.#queue[this.#head];
    this.#head = (this.#head + 1) % UART_QUEUE_BYTES;
    this.#queued--;
    return byte;
  }

  #readData(): number {
    if (this.#queued === 0) return 0;
    const byte = this.#shift();
    this.#update();
    return byte;
  }

  #readIdentification(): number {
    const pending = this.#pendingInterrupt();
    if (pending === wire.IIR_TRANSMIT) {
      this.#transmitPending = false;
      this.#update();
    }
    return pending | (this.#fifoOn ? wire.IIR_FIFO : 0);
  }

  #readLineStatus(): number {
    const ready = this.#queued > 0 ? wire.LSR_DATA_READY : 0;
    const overrun = this.#overrun ? wire.LSR_OVERRUN : 0;
    this.#overrun = false;
    this.#update();
    return wire.LSR_TRANSMIT_EMPTY | ready | overrun;
  }

  #transmit(byte: number): void {
    this.#transmitPending = true;
    const bytes = Uint8Array.of(byte);
    if ((this.#modemControl & wire.MCR_LOOP) !== 0) this.receive(bytes);
    else this.#output({ kind: "console", port: "uart", bytes });
  }

  /** Switching the transmit interrupt on while the transmitter is empty raises it. */
  #writeInterruptEnable(value: number): void {
    const changed = value ^ this.#interruptEnable;
    this.#interruptEnable = value;
    if ((changed & wire.IER_TRANSMIT) !== 0) {
      this.#transmitPending = (value & wire.IER_TRANSMIT) !== 0;
    }
  }

  /** Clearing drops what a real FIFO would hold; the bytes behind it move up. */
  #writeFifoControl(value: number): void {
    const toggled = ((value ^ this.#fifoControl) & wire.FCR_ENABLE) !== 0;
    if (toggled || (value & wire.FCR_CLEAR_RECEIVE) !== 0) {
      const dropped = Math.min(this.#queued, this.#fifoOn ? wire.FIFO_BYTES : 1);
      this.#head = (this.#head + dropped) % UART_QUEUE_BYTES;
      this.#queued -= dropped;
    }
    this.#fifoControl = value & wire.FCR_KEPT;
  }

  /** What IIR reports now, without the FIFO bits. */
  #pendingInterrupt(): number {
    const enabled = this.#interruptEnable;
    if ((enabled & wire.IER_LINE_STATUS) !== 0 && this.#overrun) return wire.IIR_LINE_STATUS;
    if ((enabled & wire.IER_RECEIVE) !== 0 && this.#queued > 0) {
      const trigger = wire.TRIGGER_LEVELS[this.#fifoControl >> wire.FCR_TRIGGER_SHIFT];
      return this.#fifoOn && this.#queued < trigger ? wire.IIR_TIMEOUT : wire.IIR_RECEIVE;
    }
    if ((enabled & wire.IER_TRANSMIT) !== 0 && this.#transmitPending) return wire.IIR_TRANSMIT;
    return wire.IIR_NONE;
  }

  #update(): void {
    this.#irq.set(this.#pendingInterrupt() !== wire.IIR_NONE);
  }
}
