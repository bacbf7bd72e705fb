/**
 * The control socket: HTTP/JSON over a Unix socket that only its owner may open, WebSockets for
 * consoles and commands. Everything local that steers machines goes through here.
 */
import { once } from "node:events";
import { chmodSync, unlinkSync } from "node:fs";
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import { createConnection } from "node:net";
import type { Duplex } from "node:stream";
import { setTimeout } from "node:timers/promises";
import { CodedError } from "@dejavm/base";
import { WebSocketServer } from "ws";
import { agentError } from "../errors.ts";
import { MAX_BODY_BYTES } from "./api.ts";
import { httpStatus, toFailure } from "./failure.ts";
import { findRoute, type Route, type StreamRoute } from "./routes.ts";
import { closeStream } from "./streams.ts";

/** What a control server serves. */
export interface ControlServerOptions {
  readonly socketPath: string;
  readonly routes: readonly Route[];
  readonly streams: readonly StreamRoute[];
  /** A request failed in a way that is a defect of ours. */
  readonly onDefect: (error: unknown) => void;
}

const CLOSE_PATIENCE_MS = 1000;
/** Largest message of a console or a command. */
const MAX_MESSAGE_BYTES = 1024 * 1024;

/** See the head of this file. */
export class ControlServer {
  readonly #options: ControlServerOptions;
  readonly #server: Server;
  /** Requests that are not answered yet. */
  readonly #serving = new Set<Promise<void>>();
  readonly #sockets = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_MESSAGE_BYTES,
    perMessageDeflate: false,
  });

  private constructor(options: ControlServerOptions) {
    this.#options = options;
    this.#server = createServer((request, response) => {
      const served = this.#serve(request, response).finally(() => this.#serving.delete(served));
      this.#serving.add(served);
    });
    this.#server.on("upgrade", (request, socket, head) => this.#upgrade(request, socket, head));
  }

  /** Throws E_AGENT_RUNNING where somebody serves that socket already, and E_AGENT_LISTEN. */
  static async listen(options: ControlServerOptions): Promise<ControlServer> {
    const server = new ControlServer(options);
    await removeStale(options.socketPath);
    const failed = once(server.#server, "error").then(([cause]: unknown[]) => {
      const message = `cannot listen at ${options.socketPath}: ${String(cause)}`;
      throw agentError("E_AGENT_LISTEN", message, "check the state directory", cause);
    });
    const umask = process.umask(0o177);
    server.#server.listen(options.socketPath);
    await Promise.race([once(server.#server, "listening"), failed]).finally(() => {
      process.umask(umask);
    });
    failed.catch(() => undefined);
    chmodSync(options.socketPath, 0o600);
    return server;
  }

  /** Requests under way are answered first, unless that takes longer than a second. */
  async close(): Promise<void> {
    const patience = new AbortController();
    const tooLong = setTimeout(CLOSE_PATIENCE_MS, undefined, patience).catch(() => undefined);
    await Promise.race([Promise.allSettled(this.#serving), tooLong]);
    patience.abort();
    for (const socket of this.#sockets.clients) socket.terminate();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => {
      this.#server.close(() => resolve());
    });
  }

  async #serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      const found = findRoute(this.#options.routes, request.method ?? "", request.url ?? "");
      const body = await readBody(request);
      const answer = await found.route.handle(found.parameters, body);
      const text = typeof answer === "string";
      response.setHeader("content-type", text ? "text/plain; version=0.0.4" : "application/json");
      await send(response, text ? answer : JSON.stringify(answer ?? {}));
    } catch (error) {
      if (!(error instanceof CodedError)) this.#options.onDefect(error);
      response.statusCode = httpStatus(error);
      response.setHeader("content-type", "application/json");
      await send(response, JSON.stringify(toFailure(error)));
    }
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    socket.on("error", () => undefined);
    this.#sockets.handleUpgrade(request, socket, head, (stream) => {
      try {
        const found = findRoute(this.#options.streams, "GET", request.url ?? "");
        found.route.open(found.parameters, stream);
      } catch (error) {
        if (!(error instanceof CodedError)) this.#options.onDefect(error);
        closeStream(stream, error);
      }
    });
  }
}

/** Settles when the answer has left, or cannot any more. */
function send(response: ServerResponse, text: string): Promise<void> {
  return new Promise((resolve) => {
    response.once("close", resolve);
    response.end(text, resolve);
  });
}

async function readBody(request: IncomingMessage): Promise<unknown> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) throw badRequest(`it is longer than ${MAX_BODY_BYTES} bytes`);
    parts.push(part);
  }
  if (bytes === 0) return undefined;
  try {
    return JSON.parse(Buffer.concat(parts).toString("utf8"));
  } catch (error) {
    throw badRequest(error instanceof Error ? error.message : "it is no JSON");
  }
}

function badRequest(what: string): Error {
  const message = `cannot understand the request: ${what}`;
  return agentError("E_AGENT_PROTOCOL", message, "docs/AGENT.md lists requests");
}

/** A socket that nobody listens at was left by a process that was killed. */
async function removeStale(path: string): Promise<void> {
  const probe = createConnection({ path });
  try {
    await once(probe, "connect");
  } catch (error) {
    const code = error instanceof Error && "code" in error ? error.code : "";
    if (code === "ECONNREFUSED") unlinkSync(path);
    return;
  } finally {
    probe.destroy();
  }
  throw agentError(
    "E_AGENT_RUNNING",
    `something serves ${path} already`,
    "stop it first, or use another name or state directory",
  );
}
