/** The agents that this one is paired with, in `peers.json`. */
import { join } from "node:path";
import { z } from "zod";
import { agentError } from "../errors.ts";
import type { Fingerprint } from "../identity/identity.ts";
import { AGENT_NAME } from "../names.ts";
import { readPrivateFile, writePrivateFile } from "../state-dir.ts";

/** An agent that may migrate machines to this one, and that this one may migrate to. */
export interface Peer {
  readonly name: string;
  readonly fingerprint: Fingerprint;
  /** `HOST:PORT` where it listens; undefined: only it can dial. */
  readonly address?: string | undefined;
}

const peerSchema = z.strictObject({
  name: z.string().regex(AGENT_NAME),
  fingerprint: z.string().regex(/^[0-9a-f]{64}$/),
  address: z.string().max(300).exactOptional(),
});
const fileSchema = z.strictObject({ peers: z.array(peerSchema).max(10_000) });

const PEERS_FILE = "peers.json";

/** The peers of the agent in `stateDir`. Changes are durable when the method is done. */
export class PeerBook {
  readonly #path: string;
  #peers: readonly Peer[];

  constructor(stateDir: string) {
    this.#path = join(stateDir, PEERS_FILE);
    const text = readPrivateFile(this.#path);
    this.#peers = text === undefined ? [] : parse(text, this.#path);
  }

  get peers(): readonly Peer[] {
    return this.#peers;
  }

  /** Adds a peer; one of that name or certificate is replaced. */
  add(peer: Peer): void {
    const { name, fingerprint } = peer;
    const others = this.#peers.filter(
      (other) => other.name !== name && other.fingerprint !== fingerprint,
    );
    this.#write([...others, peer]);
  }

  /** Throws E_PEER_UNKNOWN. */
  remove(name: string): void {
    this.named(name);
    this.#write(this.#peers.filter((peer) => peer.name !== name));
  }

  /** Throws E_PEER_UNKNOWN. */
  named(name: string): Peer {
    const peer = this.#peers.find((other) => other.name === name);
    if (peer !== undefined) return peer;
    const known = this.#peers.map((other) => other.name).join(", ");
    throw agentError(
      "E_PEER_UNKNOWN",
      `this agent is not paired with ${name}`,
      known === "" ? "pair the two hosts: `dejavm pair`" : `it knows ${known}`,
    );
  }

  withFingerprint(fingerprint: Fingerprint): Peer | undefined {
    return this.#peers.find((peer) => peer.fingerprint === fingerprint);
  }

  #write(peers: readonly Peer[]): void {
    const sorted = peers.toSorted((a, b) => (a.name < b.name ? -1 : 1));
    writePrivateFile(this.#path, `${JSON.stringify({ peers: sorted }, undefined, 2)}\n`);
    this.#peers = sorted;
  }
}

function parse(text: string, path: string): readonly Peer[] {
  try {
    return fileSchema.parse(JSON.parse(text)).peers;
  } catch (error) {
    const hint = "restore the file, or remove it and pair again";
    throw agentError("E_STATE_DIR", `cannot understand ${path}`, hint, error);
  }
}
