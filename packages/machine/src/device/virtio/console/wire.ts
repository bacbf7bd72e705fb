/** Constants of the virtio console device (virtio 1.2, section 5.3). */

/** Feature bit numbers. */
export const CONSOLE_FEATURE = { Multiport: 1 } as const;

/** Offsets in the configuration space; there is no F_SIZE, so columns and rows stay 0. */
export const CONSOLE_CONFIG = { MaxPorts: 4, Bytes: 12 } as const;

/** Queue numbers of the control channel; port n > 0 has queues 2n+2 and 2n+3. */
export const CONTROL_QUEUE = { Receive: 2, Transmit: 3 } as const;
export const CONSOLE_QUEUE_SIZE = 64;

/**
 * ```
 * control message | id u32 | event u16 | value u16 | name bytes, for PortName |
 * ```
 */
export const CONTROL = { Id: 0, Event: 4, Value: 6, Bytes: 8 } as const;

/** Values of a control message's `event`. */
export const CONTROL_EVENT = {
  DeviceReady: 0,
  PortAdd: 1,
  PortReady: 3,
  ConsolePort: 4,
  PortOpen: 6,
  PortName: 7,
} as const;

/** What a Linux guest finds as /dev/virtio-ports/org.dejavm.agent. */
export const AGENT_PORT_NAME = "org.dejavm.agent";

/** Input bytes that wait for the guest, per port; `room` tells how many more there may be. */
export const MAX_WAITING_INPUT_BYTES = 65_536;
