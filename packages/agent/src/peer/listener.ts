/**
 * Where other agents dial in: HTTPS with client certificates. Whoever is not paired can do one
 * thing, redeem an invitation; everything else wants a certificate that is known.
 */
import { once } from "node:events";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type Server } from "node:https";
import type { Duplex } from "node:stream";
import { TLSSocket } from "node:tls";
import { CodedError } from "@dejavm/base";
import { type WebSocket, WebSocketServer } from "ws";
import { z } from "zod";
import type { HostPort } from "../config.ts";
import { httpStatus, toFailure } from "../control/failure.ts";
import { parseBody } from "../control/routes.ts";
import { agentError } from "../errors.ts";
import { type Fingerprint, fingerprintOf, type Identity } from "../identity/identity.ts";
import { AGENT_NAME } from "../names.ts";
import type { Peer } from "../pairing/peers.ts";

/** What `POST /v1/pair` carries, beside the certificate of the connection. */
export const pairRequestSchema = z.strictObject({
  /** Hex. */
  secret: z.string().regex(/^[0-9a-f]{32}$/),
  name: z.string().regex(AGENT_NAME),
  /** Where the one that dials can be dialled itself. */
  address: z.string().max(300).exactOptional(),
});
/** See `pairRequestSchema`. */
export type PairRequest = z.infer<typeof pairRequestSchema>;
/** Its answer: what the inviting agent is called. */
export const pairAnswerSchema = z.object({ name: z.string().regex(AGENT_NAME) });

/** What a listener is made from. */
export interface PeerListenerOptions {
  readonly at: HostPort;
  readonly identity: Identity;
  /** The peer of a certificate; undefined: not paired. */
  readonly peerOf: (fingerprint: Fingerprint) => Peer | undefined;
  /** Redeems an invitation for the holder of a certificate; gives this agent's name. */
  readonly onPair: (request: PairRequest, fingerprint: Fingerprint) => string;
  /** A paired agent has opened a connection for `path`. */
  readonly onLink: (peer: Peer, path: string, link: WebSocket) => void;
  /** Somebody was turned away. */
  readonly onRefused: (code: string, message: string) => void;
  /** Largest message of a link. */
  readonly maxMessageBytes: number;
}

const MAX_PAIR_BYTES = 4096;
const HANDSHAKE_TIMEOUT_MS = 10_000;

/** See the head of this file. */
export class PeerListener {
  readonly #options: PeerListenerOptions;
  readonly #server: Server;
  readonly #links: WebSocketServer;

  private constructor(options: PeerListenerOptions) {
    this.#options = options;
    const { key, certificate } = options.identity;
    this.#links = new WebSocketServer({
      noServer: true,
      maxPayload: options.maxMessageBytes,
      perMessageDeflate: false,
    });
    this.#server = createServer(
      {
        key,
        cert: certificate,
        minVersion: "TLSv1.3",
        // Certificates are known by fingerprint; no authority vouches for them.
        requestCert: true,
        rejectUnauthorized: false,
        handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
        requestTimeout: HANDSHAKE_TIMEOUT_MS,
        noDelay: true,
      },
      (request, response) => void this.#serve(request, response),
    );
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
    this.#server.on("tlsClientError", () => undefined);
  }

  /** Throws E_AGENT_LISTEN. */
  static async listen(options: PeerListenerOptions): Promise<PeerListener> {
    const listener = new PeerListener(options);
    const { host, port } = options.at;
    listener.#server.listen(port, host);
    try {
      await once(listener.#server, "listening");
    } catch (cause) {
      const what = cause instanceof Error ? cause.message : String(cause);
      const message = `cannot listen at ${host}:${port}: ${what}`;
      throw agentError("E_AGENT_LISTEN", message, "choose another address with --listen", cause);
    }
    return listener;
  }

  /** The port that it got. */
  get port(): number {
    const address = this.#server.address();
    return typeof address === "object" && address !== null ? address.port : 0;
  }

  async close(): Promise<void> {
    for (const link of this.#links.clients) link.terminate();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    response.setHeader("content-type", "application/json");
    try {
      if (request.method !== "POST" || request.url !== "/v1/pair") {
        throw agentError("E_AGENT_PROTOCOL", "there is no such request", "see docs/AGENT.md");
      }
      const fingerprint = certificateOf(request.socket);
      const body = parseBody(pairRequestSchema, await readJson(request));
      response.end(JSON.stringify({ name: this.#options.onPair(body, fingerprint) }));
    } catch (error) {
      this.#tellRefused(error);
      response.statusCode = httpStatus(error);
      response.end(JSON.stringify(toFailure(error)));
    }
  }

  #tellRefused(error: unknown): void {
    if (!(error instanceof CodedError)) throw error;
    this.#options.onRefused(String(error.code), error.message);
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => undefined);
    let peer: Peer | undefined;
    try {
      const fingerprint = certificateOf(socket);
      peer = this.#options.peerOf(fingerprint);
      if (peer === undefined) throw unknownCertificate(fingerprint);
    } catch (error) {
      this.#tellRefused(error);
      const body = JSON.stringify(toFailure(error));
      socket.end(`HTTP/1.1 403 Forbidden\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
      return;
    }
    const known = peer;
    this.#links.handleUpgrade(request, socket, head, (link) => {
      this.#options.onLink(known, request.url ?? "", link);
    });
  }
}

/** The fingerprint of the other side's certificate, which it has shown to own. */
export function certificateOf(socket: Duplex): Fingerprint {
  const certificate = socket instanceof TLSSocket ? socket.getPeerX509Certificate() : undefined;
  if (certificate !== undefined) return fingerprintOf(certificate);
  const message = "the other side shows no certificate";
  throw agentError("E_PEER_CERTIFICATE", message, "dial with an agent");
}

function unknownCertificate(fingerprint: Fingerprint): CodedError {
  return agentError(
    "E_PEER_CERTIFICATE",
    `an agent with the certificate ${fingerprint} is not paired with this one`,
    "pair the two hosts: `dejavm pair`",
  );
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_PAIR_BYTES) break;
    parts.push(part);
  }
  try {
    return JSON.parse(Buffer.concat(parts).toString("utf8"));
  } catch (error) {
    throw agentError("E_AGENT_PROTOCOL", "cannot understand the request", undefined, error);
  }
}
