/** Registers of the 16550A (National Semiconductor PC16550D data sheet, section 8): one byte. */

/** Receive buffer (read), transmit holding (write); divisor low while LCR.DLAB is set. */
export const RBR_THR_DLL = 0;
/** Interrupt enable; divisor high while LCR.DLAB is set. */
export const IER_DLM = 1;
/** Interrupt identification (read), FIFO control (write). */
export const IIR_FCR = 2;
export const LCR = 3;
export const MCR = 4;
export const LSR = 5;
export const MSR = 6;
export const SCR = 7;

export const IER_RECEIVE = 0x01;
export const IER_TRANSMIT = 0x02;
export const IER_LINE_STATUS = 0x04;
export const IER_MODEM_STATUS = 0x08;
export const IER_MASK = 0x0f;

/** Interrupt identification, highest priority first. */
export const IIR_LINE_STATUS = 0x06;
export const IIR_RECEIVE = 0x04;
export const IIR_TIMEOUT = 0x0c;
export const IIR_TRANSMIT = 0x02;
export const IIR_MODEM_STATUS = 0x00;
export const IIR_NONE = 0x01;
/** Set in IIR while the FIFOs are on. */
export const IIR_FIFO = 0xc0;

export const FCR_ENABLE = 0x01;
export const FCR_CLEAR_RECEIVE = 0x02;
/** What FCR keeps: enable, DMA mode, trigger level. */
export const FCR_KEPT = 0xc9;
export const FCR_TRIGGER_SHIFT = 6;
/** Bytes in the receive FIFO that raise the interrupt, by FCR's two top bits. */
export const TRIGGER_LEVELS: readonly number[] = [1, 4, 8, 14];
export const FIFO_BYTES = 16;

export const LCR_DLAB = 0x80;

export const MCR_DTR = 0x01;
export const MCR_RTS = 0x02;
export const MCR_OUT = 0x0c;
export const MCR_LOOP = 0x10;
export const MCR_MASK = 0x1f;

export const LSR_DATA_READY = 0x01;
export const LSR_OVERRUN = 0x02;
/** Holding register empty and transmitter empty: bytes leave at once. */
export const LSR_TRANSMIT_EMPTY = 0x60;

/** The other end is there: carrier, data set ready, clear to send. */
export const MSR_CONNECTED = 0xb0;
export const MSR_CTS = 0x10;
export const MSR_DSR = 0x20;
export const MSR_OUT_SHIFT = 4;
