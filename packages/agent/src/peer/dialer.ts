/** Dials other agents: TLS with our certificate, theirs checked before anything is said. */
import { once } from "node:events";
import { type ClientRequest, type IncomingMessage, request } from "node:http";
import { connect, type TLSSocket } from "node:tls";
import { WebSocket } from "ws";
import { type HostPort, parseHostPort } from "../config.ts";
import { failureSchema } from "../control/api.ts";
import { fromFailure } from "../control/failure.ts";
import { agentError } from "../errors.ts";
import type { Fingerprint, Identity } from "../identity/identity.ts";
import type { Peer } from "../pairing/peers.ts";
import { certificateOf, type PairRequest, pairAnswerSchema } from "./listener.ts";

/** How long making a connection may take, TLS included. */
const DIAL_TIMEOUT_MS = 15_000;
/** What a listener answers to an agent that it is not paired with. */
const FORBIDDEN = 403;
const MAX_ANSWER_BYTES = 65_536;

/** Opens a link for `path` to a paired agent. Throws E_PEER_*; the link is open then. */
export async function dialPeer(
  identity: Identity,
  peer: Peer,
  { path, maxMessageBytes }: { readonly path: string; readonly maxMessageBytes: number },
): Promise<WebSocket> {
  if (peer.address === undefined) {
    throw agentError(
      "E_PEER_UNREACHABLE",
      `${peer.name} has no address that could be dialled`,
      "start the migration where it can dial, or pair again with --advertise",
    );
  }
  const socket = await dial(identity, parseHostPort(peer.address), peer.fingerprint);
  const link = new WebSocket(`ws://${peer.address}${path}`, {
    createConnection: () => socket,
    perMessageDeflate: false,
    maxPayload: maxMessageBytes,
    handshakeTimeout: DIAL_TIMEOUT_MS,
    // A mask is against caches on the way, which TLS keeps out; nothing is copied for one of zeros.
    generateMask: (mask) => mask.fill(0),
  });
  try {
    await once(link, "open");
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    const isForbidden = what.endsWith(String(FORBIDDEN));
    throw agentError(
      isForbidden ? "E_PEER_CERTIFICATE" : "E_PEER_UNREACHABLE",
      `${peer.name} at ${peer.address} refuses the connection: ${what}`,
      isForbidden
        ? "it does not know this agent any more: pair again"
        : "look at its log: it says why",
      cause,
    );
  }
  return link;
}

/** Redeems an invitation at `address`. Gives the other agent's name. Throws E_PEER_*, E_PAIR_*. */
export async function redeemInvitation(
  identity: Identity,
  address: string,
  want: { readonly fingerprint: Fingerprint; readonly request: PairRequest },
): Promise<string> {
  const socket = await dial(identity, parseHostPort(address), want.fingerprint);
  const sent = request({
    createConnection: () => socket,
    method: "POST",
    path: "/v1/pair",
    headers: { host: address, "content-type": "application/json" },
  });
  sent.end(JSON.stringify(want.request));
  const answer = parseAnswer(await readAnswer(sent));
  socket.destroy();
  const failure = failureSchema.safeParse(answer);
  if (failure.success) throw fromFailure(failure.data);
  return pairAnswerSchema.parse(answer).name;
}

async function dial(identity: Identity, to: HostPort, want: Fingerprint): Promise<TLSSocket> {
  const { key, certificate } = identity;
  const socket = connect({
    ...to,
    key,
    cert: certificate,
    minVersion: "TLSv1.3",
    // Known by fingerprint; it is compared before a byte is sent.
    rejectUnauthorized: false,
    checkServerIdentity: () => undefined,
  });
  socket.setNoDelay(true);
  socket.setTimeout(DIAL_TIMEOUT_MS, () => socket.destroy(new Error("it does not answer")));
  try {
    await once(socket, "secureConnect");
  } catch (cause) {
    const what = cause instanceof Error ? cause.message : String(cause);
    throw agentError(
      "E_PEER_UNREACHABLE",
      `cannot reach an agent at ${to.host}:${to.port}: ${what}`,
      "check the address, and that the agent runs there",
      cause,
    );
  }
  socket.setTimeout(0);
  socket.on("error", () => undefined);
  const found = certificateOf(socket);
  if (found === want) return socket;
  socket.destroy();
  throw agentError(
    "E_PEER_CERTIFICATE",
    `the agent at ${to.host}:${to.port} has the certificate ${found}, want ${want}`,
    "somebody else answers there, or it was set up anew: pair again",
  );
}

async function readAnswer(sent: ClientRequest): Promise<string> {
  const response = Promise.withResolvers<IncomingMessage>();
  sent.on("response", response.resolve).on("error", response.reject);
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of (await response.promise) as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_ANSWER_BYTES) break;
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function parseAnswer(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const message = "cannot understand the other agent's answer";
    throw agentError("E_AGENT_PROTOCOL", message, "is it an agent?", error);
  }
}
