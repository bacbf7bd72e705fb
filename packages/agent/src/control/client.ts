/** The other end of a control socket: what `dejavm` commands use. */
import { once } from "node:events";
import { request } from "node:http";
import type { Readable } from "node:stream";
import { WebSocket } from "ws";
import type { z } from "zod";
import { agentError } from "../errors.ts";
import { failureSchema } from "./api.ts";
import { fromFailure } from "./failure.ts";

/** One request. */
export interface ControlRequest<T> {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  readonly body?: object;
  /** What the answer has to be. */
  readonly answer: z.ZodType<T>;
}

const MAX_ANSWER_BYTES = 64 * 1024 * 1024;

/** A control socket. Every method throws what the server answered, or E_AGENT_ABSENT. */
export class ControlClient {
  readonly socketPath: string;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
  }

  async ask<T>({ method, path, body, answer }: ControlRequest<T>): Promise<T> {
    const { status, text } = await this.#exchange(method, path, body);
    const value: unknown = text === "" ? {} : parseJson(text);
    if (status !== 200) throw fromFailure(failureSchema.parse(value));
    const result = answer.safeParse(value);
    if (result.success) return result.data;
    throw agentError(
      "E_AGENT_PROTOCOL",
      `cannot understand the answer to ${method} ${path}`,
      "use the same version of Déjà VM as the agent has",
      result.error,
    );
  }

  /** The answer to a request as plain text. */
  async text(path: string): Promise<string> {
    return (await this.#exchange("GET", path, undefined)).text;
  }

  /**
   * Opens a console or a command. What the server says at once, such as why it refuses, is heard by
   * listeners that are attached in the same turn of the event loop.
   */
  async stream(path: string): Promise<WebSocket> {
    const url = `ws+unix:${this.socketPath}:${path}`;
    const stream = new WebSocket(url, { perMessageDeflate: false });
    stream.once("open", () => stream.pause());
    try {
      await once(stream, "open");
    } catch (error) {
      throw absent(this.socketPath, error);
    }
    stream.on("error", () => undefined);
    setImmediate(() => stream.resume());
    return stream;
  }

  #exchange(
    method: string,
    path: string,
    body: object | undefined,
  ): Promise<{ readonly status: number; readonly text: string }> {
    const { promise, resolve, reject } = Promise.withResolvers<{ status: number; text: string }>();
    // A connection of its own: one that was kept open may be that of a server which has ended.
    const where = { socketPath: this.socketPath, method, path, agent: false };
    const sent = request(where, (response) => {
      readText(response).then(
        (text) => resolve({ status: response.statusCode ?? 0, text }),
        (error: unknown) => reject(absent(this.socketPath, error)),
      );
    });
    sent.on("error", (error) => reject(absent(this.socketPath, error)));
    const text = body === undefined ? "" : JSON.stringify(body);
    sent.setHeader("content-type", "application/json");
    sent.setHeader("content-length", Buffer.byteLength(text));
    sent.end(text);
    return promise;
  }
}

async function readText(stream: Readable): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of stream as AsyncIterable<Buffer>) {
    bytes += part.length;
    if (bytes > MAX_ANSWER_BYTES) throw new Error("the answer is too long");
    parts.push(part);
  }
  return Buffer.concat(parts).toString("utf8");
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    const message = `cannot understand an answer: ${text.slice(0, 60)}`;
    throw agentError("E_AGENT_PROTOCOL", message, "is that socket an agent's?", error);
  }
}

function absent(socketPath: string, cause: unknown): Error {
  const message = `nothing answers at ${socketPath}`;
  return agentError("E_AGENT_ABSENT", message, "start an agent: dejavm agent", cause);
}
