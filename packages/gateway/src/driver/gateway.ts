/**
 * The guest's network on this host: `GatewayCore` with sockets and a clock. Frames that come in
 * during one turn of the event loop are answered together at its end.
 */
import { randomBytes } from "node:crypto";
import { unreachable } from "@dejavm/base";
import type { Resolver } from "../environment.ts";
import { gatewayError } from "../errors.ts";
import { formatForward, MAX_FORWARDS, type PortForward } from "../forwards.ts";
import { GatewayCore } from "../gateway-core.ts";
import type { GatewayLimits } from "../limits.ts";
import type { GatewayMetrics } from "../metrics.ts";
import type { PolicyRule } from "../policy.ts";
import type { Flow, GatewayOutput, SocketEvent } from "../socket-events.ts";
import { CaptureFile } from "./capture-file.ts";
import { type Listener, listen } from "./listeners.ts";
import { hostResolvers } from "./resolvers.ts";
import { TcpSockets } from "./tcp-sockets.ts";
import { UdpSockets } from "./udp-sockets.ts";

/** What belongs to the VM: plain data that moves with it. */
export interface NetworkPolicy {
  readonly rules: readonly PolicyRule[];
  readonly forwards: readonly PortForward[];
  readonly limits?: Partial<GatewayLimits>;
}

/** What a gateway is started with. */
export interface GatewayOptions {
  readonly policy: NetworkPolicy;
  /** Largest IPv4 packet on the cable; 1500 if not given. */
  readonly mtu?: number;
  /**
   * The guest's card, 6 bytes, where it is known: a guest that was running before may be silent
   * for long, and takes nothing that is addressed to all.
   */
  readonly guestMac?: Uint8Array | undefined;
  /** Undefined: those of /etc/resolv.conf. */
  readonly resolvers?: readonly Resolver[] | undefined;
  /** Every frame is captured in this file, in pcapng. */
  readonly capturePath?: string | undefined;
  /** One line for people. */
  readonly onNotice?: (line: string) => void;
}

interface OpenForward {
  readonly id: number;
  /** With the port that the host gave. */
  readonly forward: PortForward;
  readonly listener: Listener;
}

/** Node's timers take no more. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** See the head of this file. */
export class Gateway {
  readonly #core: GatewayCore;
  readonly #tcp: TcpSockets;
  readonly #udp: UdpSockets;
  readonly #capture: CaptureFile | undefined;
  readonly #options: GatewayOptions;
  readonly #forwards: OpenForward[] = [];
  #rules: readonly PolicyRule[];
  #onFrame: ((frame: Uint8Array) => void) | undefined;
  #onFlowEnded: ((flow: Flow) => void) | undefined;
  #lastForward = 0;
  #turn: NodeJS.Immediate | undefined;
  #soon = false;
  #timer: NodeJS.Timeout | undefined;
  #timerAt = Number.POSITIVE_INFINITY;
  #closed = false;

  private constructor(options: GatewayOptions) {
    const { policy, mtu, guestMac, capturePath, resolvers = hostResolvers() } = options;
    this.#options = options;
    this.#rules = policy.rules;
    this.#core = new GatewayCore({
      seed: randomBytes(4).readUInt32LE(),
      resolvers,
      rules: policy.rules,
      ...(policy.limits === undefined ? {} : { limits: policy.limits }),
      ...(mtu === undefined ? {} : { mtu }),
      ...(guestMac === undefined ? {} : { guestMac }),
    });
    this.#core.setPlugged(false, now());
    const onEvent = (event: SocketEvent): void => {
      this.#core.handleSocketEvent(event, now());
      if (event.kind === "tcp-sent") this.#scheduleSoon();
      else this.#schedule();
    };
    this.#tcp = new TcpSockets(onEvent);
    this.#udp = new UdpSockets(onEvent);
    if (capturePath !== undefined) {
      this.#capture = new CaptureFile(capturePath, (line) => options.onNotice?.(line));
    }
  }

  /** Throws E_NET_POLICY, E_NET_PORT_IN_USE, E_NET_FORWARD; nothing is left open then. */
  static async start(options: GatewayOptions): Promise<Gateway> {
    const gateway = new Gateway(options);
    try {
      for (const forward of options.policy.forwards) await gateway.addForward(forward);
    } catch (error) {
      await gateway.close();
      throw error;
    }
    return gateway;
  }

  /** The cable's guest end takes frames here; they are the receiver's. */
  plug(onFrame: (frame: Uint8Array) => void): void {
    this.#onFrame = onFrame;
    this.#core.setPlugged(true, now());
    this.#schedule();
  }

  /** Host connections stay open; TCP towards the guest stands still until the cable is back. */
  unplug(): void {
    this.#core.setPlugged(false, now());
    this.#onFrame = undefined;
    this.#schedule();
  }

  /** A frame of the guest's; it must not change any more. */
  sendFrame(frame: Uint8Array): void {
    this.#capture?.add(frame, "fromGuest");
    this.#core.handleFrame(frame, now());
    this.#schedule();
  }

  get forwards(): readonly PortForward[] {
    return this.#forwards.map(({ forward }) => forward);
  }

  /** Gives the forward with its port. Throws E_NET_PORT_IN_USE, E_NET_FORWARD. */
  async addForward(wanted: PortForward): Promise<PortForward> {
    if (this.#forwards.length >= MAX_FORWARDS) {
      throw gatewayError(
        "E_NET_FORWARD",
        `cannot forward ${formatForward(wanted)}: there are ${MAX_FORWARDS} forwards`,
        "remove one first",
      );
    }
    const id = ++this.#lastForward;
    const listener = await listen(wanted, (socket) => this.#tcp.accept(socket, id));
    const forward = { ...wanted, hostPort: listener.port };
    this.#forwards.push({ id, forward, listener });
    this.#core.addForward(id, forward);
    if (listener.kind === "udp") this.#udp.adopt({ kind: "forward", id }, listener.socket);
    return forward;
  }

  /** Connections that came through it stay; false where there is no such forward. */
  removeForward({ protocol, hostAddress, hostPort }: PortForward): boolean {
    const index = this.#forwards.findIndex(
      ({ forward }) =>
        forward.protocol === protocol &&
        forward.hostAddress === hostAddress &&
        forward.hostPort === hostPort,
    );
    const [found] = index < 0 ? [] : this.#forwards.splice(index, 1);
    if (found === undefined) return false;
    this.#close(found);
    this.#core.removeForward(found.id);
    this.#schedule();
    return true;
  }

  /** Holds for flows that are opened from now on. Throws E_NET_POLICY. */
  setRules(rules: readonly PolicyRule[]): void {
    this.#core.setRules(rules);
    this.#rules = rules;
  }

  /** What moves with the VM. */
  get policy(): NetworkPolicy {
    const { limits } = this.#options.policy;
    const own = { rules: this.#rules, forwards: this.forwards };
    return limits === undefined ? own : { ...own, limits };
  }

  /**
   * The VM has another gateway now: only open flows are served, nothing listens any more.
   * `onFlowEnded` hears of the end of each.
   */
  retire(onFlowEnded: (flow: Flow) => void): void {
    this.#onFlowEnded = onFlowEnded;
    for (const open of this.#forwards) {
      // A UDP listener still carries its flows.
      if (open.listener.kind === "tcp") open.listener.server.close();
    }
    this.#core.retire();
  }

  openFlows(): Flow[] {
    return this.#core.openFlows();
  }

  metrics(): GatewayMetrics {
    return this.#core.metrics();
  }

  /** Resets all TCP connections, both sides; a guest whose cable is out is not told. */
  abortAll(): void {
    this.#core.abortAll(now());
    this.#runOutputs();
  }

  /** Resets the host's connections, frees its ports; the guest is told if its cable is in. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.abortAll();
    this.#closed = true;
    clearImmediate(this.#turn);
    clearTimeout(this.#timer);
    for (const open of this.#forwards.splice(0)) this.#close(open);
    this.#tcp.close();
    this.#udp.closeAll();
    await this.#capture?.close();
  }

  #close({ id, listener }: OpenForward): void {
    if (listener.kind === "tcp") listener.server.close();
    else this.#udp.close({ kind: "forward", id });
  }

  #schedule(): void {
    if (this.#closed) return;
    this.#turn ??= setImmediate(() => {
      this.#turn = undefined;
      this.#runOutputs();
      this.#setTimer();
    });
  }

  /** For what follows each write to a host's socket and seldom has outputs: no turn of its own. */
  #scheduleSoon(): void {
    if (this.#soon) return;
    this.#soon = true;
    queueMicrotask(() => {
      this.#soon = false;
      if (this.#closed || this.#turn !== undefined) return;
      this.#runOutputs();
      this.#setTimer();
    });
  }

  #runOutputs(): void {
    for (let output = this.#core.poll(); output !== undefined; output = this.#core.poll()) {
      this.#run(output);
    }
    this.#tcp.flush();
  }

  #run(output: GatewayOutput): void {
    switch (output.kind) {
      case "frame":
        this.#capture?.add(output.bytes, "toGuest");
        this.#onFrame?.(output.bytes);
        break;
      case "flow-ended":
        this.#onFlowEnded?.(output.flow);
        break;
      case "udp-send":
      case "udp-close":
        this.#udp.run(output);
        break;
      case "tcp-connect":
      case "tcp-send":
      case "tcp-end":
      case "tcp-reset":
      case "tcp-read":
        this.#tcp.run(output);
        break;
      default:
        unreachable(output);
    }
  }

  #setTimer(): void {
    const { deadline } = this.#core;
    // An earlier timer than needed does no harm, and most deadlines only move later.
    if (this.#timer !== undefined && this.#timerAt <= deadline) return;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#timerAt = deadline;
    if (deadline === Number.POSITIVE_INFINITY) return;
    const ms = Math.min(Math.max(0, Math.ceil(deadline - now())), MAX_TIMEOUT_MS);
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#core.handleDeadline(now());
      this.#schedule();
    }, ms);
    this.#timer.unref();
  }
}

function now(): number {
  return performance.now();
}
