/** The states of a TCP connection and what leads from one to another (RFC 9293, section 3.3.2). */

/**
 * `connecting` is ours: the guest's SYN is held until the host has connected, so that the guest
 * learns whether it could. Nothing listens here: a connection begins in one of the first two.
 */
export type TcpState =
  | "connecting"
  | "syn-sent"
  | "syn-received"
  | "established"
  | "fin-wait-1"
  | "fin-wait-2"
  | "close-wait"
  | "closing"
  | "last-ack"
  | "time-wait"
  | "closed";

/** What happens to a connection, as far as its state depends on it. */
export type TcpStep =
  /** The host has connected: a SYN-ACK goes out. */
  | "dialled"
  /** Our SYN is acknowledged. */
  | "syn-acked"
  /** Our FIN goes out for the first time. */
  | "fin-sent"
  | "fin-acked"
  /** The guest's FIN has come, with all before it. */
  | "fin-received"
  /** Reset by either side, given up, or past its time. */
  | "ended";

type Steps = Readonly<Partial<Record<TcpStep, TcpState>>>;

/** A step that is not here cannot happen in that state. */
const TRANSITIONS: Readonly<Record<TcpState, Steps>> = {
  connecting: { dialled: "syn-received", ended: "closed" },
  "syn-sent": { "syn-acked": "established", ended: "closed" },
  "syn-received": { "syn-acked": "established", ended: "closed" },
  established: { "fin-sent": "fin-wait-1", "fin-received": "close-wait", ended: "closed" },
  "fin-wait-1": { "fin-acked": "fin-wait-2", "fin-received": "closing", ended: "closed" },
  "fin-wait-2": { "fin-received": "time-wait", ended: "closed" },
  "close-wait": { "fin-sent": "last-ack", ended: "closed" },
  closing: { "fin-acked": "time-wait", ended: "closed" },
  "last-ack": { "fin-acked": "closed", ended: "closed" },
  "time-wait": { ended: "closed" },
  closed: {},
};

/** The state after `step`, or undefined where it cannot happen. */
export function nextState(state: TcpState, step: TcpStep): TcpState | undefined {
  return TRANSITIONS[state][step];
}

/** Whether the guest may still send data. */
export function receives(state: TcpState): boolean {
  return state === "established" || state === "fin-wait-1" || state === "fin-wait-2";
}

/** Whether our SYN has been acknowledged. */
export function synchronised(state: TcpState): boolean {
  switch (state) {
    case "connecting":
    case "syn-sent":
    case "syn-received":
    case "closed":
      return false;
    default:
      return true;
  }
}
