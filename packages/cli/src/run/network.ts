/** The guest's network cable: to the gateway in this process, or to a helper on a socket. */
import { Gateway, NetStream } from "@dejavm/gateway";
import { NET_MTU } from "@dejavm/machine";
import type { VirtualMachine } from "@dejavm/vm";
import type { NetworkPlan } from "./plan.ts";

/** Where the guest's frames go. */
export interface NetworkCable {
  /** From now on frames reach `vm`. */
  connect(vm: VirtualMachine): void;
  send(frame: Uint8Array): void;
  /** Settles when all that was captured is written. */
  close(): Promise<void>;
  /** Undefined: a helper of another process has the network. */
  readonly gateway: Gateway | undefined;
}

/**
 * Prepares the network before the machine starts, so that a port that is taken shows at once.
 * Throws E_NET_POLICY, E_NET_PORT_IN_USE, E_NET_FORWARD.
 */
export async function connectNetwork(
  plan: NetworkPlan | undefined,
  onNotice: (line: string) => void,
): Promise<NetworkCable | undefined> {
  switch (plan?.kind) {
    case undefined:
      return undefined;
    case "stream": {
      let stream: NetStream | undefined;
      return {
        connect: (vm) => {
          stream = new NetStream(plan.address, {
            // A copy: what crosses to the machine's thread takes its whole buffer along.
            onFrame: (frame) => vm.sendFrame(new Uint8Array(frame)),
            onLink: (up) => vm.setLink(up),
            onNotice,
          });
        },
        send: (frame) => stream?.send(frame),
        close: async () => stream?.close(),
        gateway: undefined,
      };
    }
    case "gateway": {
      const { policy, guestMac, resolvers, capturePath } = plan;
      const gateway = await Gateway.start({
        policy,
        guestMac,
        resolvers,
        capturePath,
        onNotice,
        mtu: NET_MTU,
      });
      return {
        connect: (vm) => {
          gateway.plug((frame) => vm.sendFrame(frame));
          // A fork's cable was pulled out.
          vm.setLink(true);
        },
        send: (frame) => gateway.sendFrame(frame),
        close: () => gateway.close(),
        gateway,
      };
    }
  }
}
