/** A gateway's port forwards as the control socket changes them: by their texts. */
import { formatForward, type Gateway, parseForward } from "@dejavm/gateway";
import type { ForwardControl } from "./running-vm.ts";

/** See the head of this file. */
export function gatewayForwards(gateway: Gateway): ForwardControl {
  return {
    get forwards() {
      return gateway.forwards.map(formatForward);
    },
    async add(text) {
      await gateway.addForward(parseForward(text));
    },
    remove: (text) => gateway.removeForward(parseForward(text)),
  };
}
