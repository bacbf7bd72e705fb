/** A core on a clock of its own, one step at a time. */
import { type CoreOptions, GatewayCore } from "../gateway-core.ts";
import type { DropReason } from "../metrics.ts";
import type { GatewayOutput, SocketEvent } from "../socket-events.ts";
import { FLAG } from "../tcp/wire.ts";
import { type GuestSegment, readSegment, tcpFrame } from "./guest-frames.ts";

type Ports = Pick<GuestSegment, "guestPort" | "remotePort" | "remoteAddress">;

export class Harness {
  readonly core: GatewayCore;
  now = 1000;

  constructor(options: Partial<CoreOptions> = {}) {
    this.core = new GatewayCore({ seed: 1, resolvers: [], ...options });
  }

  frame(frame: Uint8Array): GatewayOutput[] {
    this.core.handleFrame(frame, this.now);
    return this.outputs();
  }

  event(event: SocketEvent): GatewayOutput[] {
    this.core.handleSocketEvent(event, this.now);
    return this.outputs();
  }

  /** Lets time pass and everything due happen. */
  wait(ms: number): GatewayOutput[] {
    const until = this.now + ms;
    const all: GatewayOutput[] = [];
    while (this.core.deadline <= until) {
      this.now = Math.max(this.now, this.core.deadline);
      this.core.handleDeadline(this.now);
      all.push(...this.outputs());
    }
    this.now = until;
    return all;
  }

  outputs(): GatewayOutput[] {
    const all: GatewayOutput[] = [];
    for (let each = this.core.poll(); each !== undefined; each = this.core.poll()) all.push(each);
    return all;
  }

  drops(reason: DropReason): number {
    return this.core.metrics().drops[reason];
  }

  /** Opens a connection from the guest; gives the socket and the next numbers of both sides. */
  open(ports: Ports, { window = 65_535, mss = 1460 } = {}) {
    const sequence = 5000;
    const syn = tcpFrame({ ...ports, sequence, flags: FLAG.Syn, window, mss, windowScale: 0 });
    const connect = this.frame(syn).find(({ kind }) => kind === "tcp-connect");
    if (connect?.kind !== "tcp-connect") throw new Error("the core does not connect");
    const [answer] = segments(this.event({ kind: "tcp-connected", socket: connect.socket }));
    if (answer === undefined) throw new Error("the core does not answer");
    const theirs = (answer.sequence + 1) >>> 0;
    const ours = sequence + 1;
    const numbers = { sequence: ours, acknowledgement: theirs };
    this.frame(tcpFrame({ ...ports, ...numbers, flags: FLAG.Ack, window }));
    return { socket: connect.socket, ours, theirs };
  }
}

/** The TCP segments among the frames for the guest. */
export function segments(outputs: readonly GatewayOutput[]) {
  return outputs.flatMap((output) => {
    const segment = output.kind === "frame" ? readSegment(output.bytes) : undefined;
    return segment === undefined ? [] : [segment];
  });
}
