import { AssertionError, CodedError } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { fuzzRegisters } from "../../board/test-support/register-fuzz.ts";
import { utf8 } from "../../board/text.ts";
import { UART_QUEUE_BYTES, Uart } from "./device.ts";
import * as wire from "./wire.ts";

function make(): { readonly uart: Uart; readonly seen: { irq: boolean; text: string } } {
  const seen = { irq: false, text: "" };
  const uart = new Uart({
    irq: { set: (asserted) => (seen.irq = asserted) },
    output: (output) => {
      if (output.kind !== "console") throw new AssertionError("a UART emits console bytes");
      seen.text += String.fromCharCode(...output.bytes);
    },
  });
  return { uart, seen };
}

const id = (uart: Uart): number => uart.read(wire.IIR_FCR, 1) & 0x0f;

describe("16550A", () => {
  test("a byte written leaves at once and the transmitter stays empty", () => {
    const { uart, seen } = make();
    for (const byte of utf8("hi")) uart.write(wire.RBR_THR_DLL, 1, byte);
    expect(seen.text).toBe("hi");
    expect(uart.read(wire.LSR, 1)).toBe(wire.LSR_TRANSMIT_EMPTY);
  });

  test("the divisor hides data and interrupt registers while DLAB is set", () => {
    const { uart, seen } = make();
    uart.write(wire.LCR, 1, wire.LCR_DLAB | 3);
    uart.write(wire.RBR_THR_DLL, 1, 0x41);
    uart.write(wire.IER_DLM, 1, 0x0f);
    expect([uart.read(0, 1), uart.read(1, 1)]).toEqual([0x41, 0x0f]);
    uart.write(wire.LCR, 1, 3);
    expect(seen.text).toBe("");
    expect(uart.read(wire.IER_DLM, 1)).toBe(0);
  });

  test("enabling the transmit interrupt raises it, reading IIR lowers it, a byte raises it", () => {
    const { uart, seen } = make();
    uart.write(wire.IER_DLM, 1, wire.IER_TRANSMIT);
    expect(seen.irq).toBe(true);
    expect(id(uart)).toBe(wire.IIR_TRANSMIT);
    expect(seen.irq).toBe(false);
    expect(id(uart)).toBe(wire.IIR_NONE);
    uart.write(wire.RBR_THR_DLL, 1, 0x21);
    expect(seen.irq).toBe(true);
    uart.write(wire.IER_DLM, 1, 0);
    expect(seen.irq).toBe(false);
  });

  test("received bytes raise the receive interrupt, below the FIFO's trigger the timeout", () => {
    const { uart, seen } = make();
    uart.write(wire.IIR_FCR, 1, wire.FCR_ENABLE | 0x80);
    uart.write(wire.IER_DLM, 1, wire.IER_RECEIVE);
    uart.receive(new Uint8Array(8));
    expect(id(uart)).toBe(wire.IIR_RECEIVE);
    uart.read(wire.RBR_THR_DLL, 1);
    expect(id(uart)).toBe(wire.IIR_TIMEOUT);
    expect(seen.irq).toBe(true);
    for (let i = 0; i < 7; i++) uart.read(wire.RBR_THR_DLL, 1);
    expect(seen.irq).toBe(false);
  });

  test("receive comes before transmit, line status before both", () => {
    const { uart } = make();
    uart.write(wire.IER_DLM, 1, wire.IER_MASK);
    uart.receive(new Uint8Array(UART_QUEUE_BYTES + 1));
    expect(id(uart)).toBe(wire.IIR_LINE_STATUS);
    expect(uart.read(wire.LSR, 1) & wire.LSR_OVERRUN).toBe(wire.LSR_OVERRUN);
    expect(id(uart)).toBe(wire.IIR_RECEIVE);
    uart.take(UART_QUEUE_BYTES);
    expect(id(uart)).toBe(wire.IIR_TRANSMIT);
  });

  test.each([-1, 0, 1])("queue limit %i: what fits is kept, the rest sets overrun", (excess) => {
    const { uart } = make();
    uart.receive(new Uint8Array(UART_QUEUE_BYTES + excess));
    expect(uart.room).toBe(Math.max(0, -excess));
    expect(uart.read(wire.LSR, 1) & wire.LSR_OVERRUN).toBe(excess > 0 ? wire.LSR_OVERRUN : 0);
  });

  test("clearing the receive FIFO drops 16 bytes; the queue behind it moves up", () => {
    const { uart } = make();
    uart.write(wire.IIR_FCR, 1, wire.FCR_ENABLE);
    uart.receive(Uint8Array.from({ length: 20 }, (_, i) => i));
    uart.write(wire.IIR_FCR, 1, wire.FCR_ENABLE | wire.FCR_CLEAR_RECEIVE);
    expect(uart.read(wire.RBR_THR_DLL, 1)).toBe(16);
    expect(uart.queued).toBe(3);
  });

  test("in loopback bytes and modem lines come back and nothing leaves", () => {
    const { uart, seen } = make();
    uart.write(wire.MCR, 1, wire.MCR_LOOP | wire.MCR_RTS);
    uart.write(wire.RBR_THR_DLL, 1, 0x5a);
    expect(uart.read(wire.RBR_THR_DLL, 1)).toBe(0x5a);
    expect(uart.read(wire.MSR, 1)).toBe(wire.MSR_CTS);
    expect(seen.text).toBe("");
  });

  test("take removes the oldest bytes", () => {
    const { uart } = make();
    uart.receive(utf8("abc"));
    expect(uart.take(2)).toEqual(utf8("ab"));
    expect(uart.take(9)).toEqual(utf8("c"));
  });

  test("a state with too long a queue or an unknown field is refused", () => {
    const { uart } = make();
    const state = uart.save();
    const long = { ...state, received: new Uint8Array(UART_QUEUE_BYTES + 1) };
    expect(() => uart.restore(long)).toThrow(CodedError);
    expect(() => uart.restore({ ...state, extra: 1 })).toThrow(CodedError);
  });

  test("random traffic never throws and survives save and restore", () => {
    fuzzRegisters({
      seed: 0x16550,
      operations: 20_000,
      regionBytes: 0x100,
      offsets: [0, 1, 2, 3, 4, 5, 6, 7],
      make: () => {
        const { uart, seen } = make();
        return {
          device: uart,
          observe: () => [seen.irq, uart.queued],
          disturb: (prng) => uart.receive(prng.fill(new Uint8Array(prng.below(40)))),
        };
      },
    });
  });
});
