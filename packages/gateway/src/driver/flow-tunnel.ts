/**
 * The two ends of a flow tunnel: at the gateway that a VM has left, and at the one it came to. The
 * carrier of the messages is handed in; it keeps them whole and in order.
 */
import { FlowSwitch } from "../flow-switch.ts";
import type { Flow } from "../socket-events.ts";
import { decodeTunnelMessage, encodeTunnelMessage, type TunnelMessage } from "../tunnel-wire.ts";
import type { Gateway } from "./gateway.ts";

/**
 * The network that a VM has left: its gateway, or with it the tunnels to gateways that the VM had
 * left before (`SwitchedNetwork`), so that a connection follows over any number of moves.
 */
export type FlowEdge = Pick<
  Gateway,
  "openFlows" | "retire" | "plug" | "unplug" | "sendFrame" | "abortAll"
>;

/**
 * The open flows as a message of a tunnel, before there is a `TunnelSource`: the other side knows
 * them by the time that the VM is live there. The gateway can still go on if it never is.
 */
export function flowsMessage(edge: FlowEdge): Uint8Array {
  return encodeTunnelMessage({ kind: "flows", flows: edge.openFlows() });
}

/** At the old gateway. It serves the flows that are open, and says when each and all are over. */
export class TunnelSource {
  readonly #edge: FlowEdge;
  readonly #send: (message: Uint8Array) => void;
  readonly #onOver: () => void;
  #over = false;

  /**
   * Takes the edge's cable and tells the flows. `onOver` is called once, when the last flow has
   * ended, the other side has said so, or `end` was called.
   */
  constructor(
    edge: FlowEdge,
    { send, onOver }: { send: (message: Uint8Array) => void; onOver: () => void },
  ) {
    this.#edge = edge;
    this.#send = send;
    this.#onOver = onOver;
    edge.retire((flow) => this.#flowEnded(flow));
    this.#tell({ kind: "flows", flows: edge.openFlows() });
    edge.plug((bytes) => this.#tell({ kind: "frame", bytes }));
    this.#endIfIdle();
  }

  /** A message of the other side. Throws E_NET_TUNNEL. */
  receive(bytes: Uint8Array): void {
    const message = decodeTunnelMessage(bytes);
    if (message.kind === "frame") this.#edge.sendFrame(message.bytes);
    if (message.kind === "bye") this.#finish();
  }

  /** The carrier is gone: what is open stays, until it is back or given up. */
  interrupt(): void {
    this.#edge.unplug();
  }

  /** A new carrier: the flows are told again. */
  resume(): void {
    this.#tell({ kind: "flows", flows: this.#edge.openFlows() });
    this.#edge.plug((bytes) => this.#tell({ kind: "frame", bytes }));
  }

  /** Resets what is open, on both sides. */
  end(): void {
    if (this.#over) return;
    this.#edge.abortAll();
    this.#tell({ kind: "bye" });
    this.#finish();
  }

  #flowEnded(flow: Flow): void {
    this.#tell({ kind: "flow-ended", flow });
    this.#endIfIdle();
  }

  #endIfIdle(): void {
    if (this.#over || this.#edge.openFlows().length > 0) return;
    this.#tell({ kind: "bye" });
    this.#finish();
  }

  #finish(): void {
    if (this.#over) return;
    this.#over = true;
    this.#onOver();
  }

  #tell(message: TunnelMessage): void {
    if (!this.#over) this.#send(encodeTunnelMessage(message));
  }
}

/** A tunnel to a gateway that owns flows, as `SwitchedNetwork` sees it. */
export interface Tunnel {
  send(message: Uint8Array): void;
}

/** At the new gateway: the guest's cable, with the gateway here and tunnels to others behind it. */
export class SwitchedNetwork implements FlowEdge {
  readonly #local: Gateway;
  readonly #switch = new FlowSwitch<Tunnel>();
  readonly #tunnels = new Set<Tunnel>();
  #onFrame: ((frame: Uint8Array) => void) | undefined;
  #onFlowEnded: (flow: Flow) => void = () => undefined;

  constructor(local: Gateway) {
    this.#local = local;
  }

  /** Flows that still go through tunnels. */
  get tunnelledFlows(): number {
    return this.#switch.flowCount;
  }

  /** From now on `tunnel` has these flows: those that were open when the VM was frozen. */
  addTunnel(tunnel: Tunnel, flows: readonly Flow[]): void {
    this.#tunnels.add(tunnel);
    this.#switch.add(tunnel, flows);
  }

  /** The carrier is gone for good: its flows get RST from the gateway here. */
  removeTunnel(tunnel: Tunnel): void {
    this.#tunnels.delete(tunnel);
    const flows = this.#switch.flows(tunnel);
    this.#switch.remove(tunnel);
    for (const flow of flows) this.#onFlowEnded(flow);
  }

  /** A message that came through `tunnel`; true when nothing more comes. Throws E_NET_TUNNEL. */
  receive(tunnel: Tunnel, bytes: Uint8Array): boolean {
    const message = decodeTunnelMessage(bytes);
    switch (message.kind) {
      case "frame":
        this.#onFrame?.(message.bytes);
        return false;
      case "flows":
        this.#switch.remove(tunnel);
        this.addTunnel(tunnel, message.flows);
        return false;
      case "flow-ended":
        if (this.#switch.flowEnded(tunnel, message.flow)) this.#onFlowEnded(message.flow);
        return false;
      case "bye":
        this.removeTunnel(tunnel);
        return true;
    }
  }

  plug(onFrame: (frame: Uint8Array) => void): void {
    this.#onFrame = onFrame;
    this.#local.plug(onFrame);
  }

  unplug(): void {
    this.#onFrame = undefined;
    this.#local.unplug();
  }

  /** A frame of the guest's. */
  sendFrame(frame: Uint8Array): void {
    const tunnel = this.#switch.route(frame);
    if (tunnel === undefined) this.#local.sendFrame(frame);
    else tunnel.send(encodeTunnelMessage({ kind: "frame", bytes: frame }));
  }

  // ---- the VM has moved on

  /** Those of the gateway here, and those that go through tunnels. */
  openFlows(): Flow[] {
    return [...this.#local.openFlows(), ...this.#switch.flows()];
  }

  /** The VM has another gateway now; `onFlowEnded` hears of each flow's end, whoever has it. */
  retire(onFlowEnded: (flow: Flow) => void): void {
    this.#onFlowEnded = onFlowEnded;
    this.#local.retire(onFlowEnded);
  }

  /** Ends all flows; the gateways behind the tunnels do the same with theirs. */
  abortAll(): void {
    this.#local.abortAll();
    for (const tunnel of this.#tunnels) {
      tunnel.send(encodeTunnelMessage({ kind: "bye" }));
      this.removeTunnel(tunnel);
    }
  }
}
