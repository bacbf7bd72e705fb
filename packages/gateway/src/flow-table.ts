/** Finds a flow by its ends without making a key: the guest has one address. */

/** What tells flows of one protocol apart. */
export interface FlowKey {
  readonly guestPort: number;
  readonly remoteAddress: number;
  readonly remotePort: number;
}

interface Entry<T> {
  readonly key: FlowKey;
  readonly value: T;
}

/** A map from `FlowKey` to `T`. */
export class FlowTable<T> {
  /** By both ports; flows that differ in the address only are few. */
  readonly #byPorts = new Map<number, Entry<T>[]>();
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(guestPort: number, remoteAddress: number, remotePort: number): T | undefined {
    const entries = this.#byPorts.get((guestPort << 16) | remotePort);
    if (entries === undefined) return undefined;
    for (const { key, value } of entries) {
      if (key.remoteAddress === remoteAddress) return value;
    }
    return undefined;
  }

  /** The key must not be there yet. */
  add(key: FlowKey, value: T): void {
    const ports = (key.guestPort << 16) | key.remotePort;
    const entries = this.#byPorts.get(ports);
    if (entries === undefined) this.#byPorts.set(ports, [{ key, value }]);
    else entries.push({ key, value });
    this.#size++;
  }

  delete(key: FlowKey): void {
    const ports = (key.guestPort << 16) | key.remotePort;
    const entries = this.#byPorts.get(ports) ?? [];
    const kept = entries.filter((entry) => entry.key.remoteAddress !== key.remoteAddress);
    this.#size -= entries.length - kept.length;
    if (kept.length === 0) this.#byPorts.delete(ports);
    else this.#byPorts.set(ports, kept);
  }

  *values(): Generator<T, void, undefined> {
    for (const entries of this.#byPorts.values()) for (const { value } of entries) yield value;
  }
}
