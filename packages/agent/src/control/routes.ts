/** Routes of the control socket: a method, a path with `:parameters`, and what is done. */
import type { WebSocket } from "ws";
import type { z } from "zod";
import { agentError } from "../errors.ts";

/** Values of a path's `:parameters`. */
export type Parameters = Readonly<Record<string, string>>;

/** One request that can be made. */
export interface Route {
  readonly method: "GET" | "POST" | "DELETE";
  readonly path: string;
  /** The answer becomes JSON; a string is plain text. */
  readonly handle: (parameters: Parameters, body: unknown) => unknown;
}

/** A WebSocket that can be opened. */
export interface StreamRoute {
  readonly method: "GET";
  readonly path: string;
  readonly open: (parameters: Parameters, stream: WebSocket) => void;
}

/** Finds the route for a request. Throws E_AGENT_PROTOCOL. */
export function findRoute<R extends { readonly method: string; readonly path: string }>(
  routes: readonly R[],
  method: string,
  url: string,
): { readonly route: R; readonly parameters: Parameters } {
  const [path = ""] = url.split("?");
  for (const route of routes) {
    const parameters = route.method === method ? match(route.path, path) : undefined;
    if (parameters !== undefined) return { route, parameters };
  }
  const message = `nothing answers to ${method} ${path}`;
  throw agentError("E_AGENT_PROTOCOL", message, "docs/AGENT.md lists requests");
}

/** A body as `schema` wants it; absent bodies are empty objects. Throws E_AGENT_PROTOCOL. */
export function parseBody<T>(schema: z.ZodType<T>, body: unknown): T {
  const result = schema.safeParse(body ?? {});
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const where = issue?.path.join(".") ?? "";
  const message = `cannot use the request: ${where} ${issue?.message ?? ""}`;
  throw agentError("E_AGENT_PROTOCOL", message, "docs/AGENT.md lists requests");
}

function match(pattern: string, path: string): Parameters | undefined {
  const wanted = pattern.split("/");
  const given = path.split("/");
  if (wanted.length !== given.length) return undefined;
  const parameters: Record<string, string> = {};
  for (const [at, part] of wanted.entries()) {
    const value = given[at] ?? "";
    if (part.startsWith(":")) parameters[part.slice(1)] = decode(value);
    else if (part !== value) return undefined;
  }
  return parameters;
}

function decode(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
