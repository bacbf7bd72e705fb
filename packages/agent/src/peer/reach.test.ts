/** Which failures to reach an agent are worth another try, and for how long. */
import { connect } from "node:net";
import { expect, test } from "vitest";
import { agentError } from "../errors.ts";
import { reachMs } from "./reach.ts";

const unreachable = (cause: unknown): Error =>
  agentError("E_PEER_UNREACHABLE", "cannot reach it", "look", cause);

async function failureOf(port: number, host: string): Promise<unknown> {
  const failure = Promise.withResolvers<unknown>();
  connect({ port, host }).on("error", failure.resolve);
  return failure.promise;
}

test("[AG4] nobody listens, or the name is none: ten seconds", async () => {
  expect(reachMs(unreachable(await failureOf(1, "127.0.0.1")))).toBe(10_000);
  // A name that has several addresses fails with a failure for each.
  const each = new AggregateError([await failureOf(1, "127.0.0.1")]);
  expect(reachMs(unreachable(each))).toBe(10_000);
  const unknown = Object.assign(new Error("getaddrinfo"), { code: "ENOTFOUND" });
  expect(reachMs(unreachable(unknown))).toBe(10_000);
});

test("[AG4] nothing answers, or the connection breaks: as long as a cut may last", () => {
  const reset = Object.assign(new Error("socket hang up"), { code: "ECONNRESET" });
  expect(reachMs(unreachable(reset))).toBe(90_000);
  expect(reachMs(unreachable(new Error("it does not answer")))).toBe(90_000);
});

test("[AG4] somebody else answers, or it is no failure of the path: none", () => {
  expect(reachMs(agentError("E_PEER_CERTIFICATE", "another", "pair again"))).toBe(0);
  expect(reachMs(new Error("a flaw"))).toBe(0);
});
