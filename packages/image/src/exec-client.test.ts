import { describe, expect, test } from "vitest";
import { ExecClient, type ExecEvent } from "./exec-client.ts";
import {
  EXEC_MAX_COMMANDS,
  EXEC_WINDOW_BYTES,
  ExecDecoder,
  type ExecMessage,
  encodeExecMessage,
} from "./exec-protocol.ts";

/** What the client has written to the port since last asked. */
function sent(client: ExecClient): ExecMessage[] {
  return new ExecDecoder().push(client.takeOutput());
}

function say(client: ExecClient, message: ExecMessage): void {
  client.receive(encodeExecMessage(message));
}

function events(client: ExecClient): ExecEvent[] {
  const all: ExecEvent[] = [];
  for (let event = client.poll(); event !== undefined; event = client.poll()) all.push(event);
  return all;
}

/** Answers the greeting that the client sends; returns what it sent after it. */
function connect(client: ExecClient): ExecMessage[] {
  client.greet();
  const [hello] = sent(client);
  if (hello?.type !== "hello") throw new Error("no greeting");
  say(client, hello);
  return sent(client);
}

describe("exec client", () => {
  test("a greeting begins with a line, for the shell that stands in for the agent", () => {
    const client = new ExecClient(5);
    client.greet();
    const bytes = client.takeOutput();
    expect(bytes[0]).toBe(0x0a);
    expect(new ExecDecoder().push(bytes)).toEqual([{ type: "hello", version: 1, nonce: 6 }]);
  });

  test("commands wait for the agent; only the answer to the last greeting counts", () => {
    const client = new ExecClient(5);
    const id = client.start({ argv: ["true"] });
    client.greet();
    const [first] = sent(client);
    client.greet();
    const [second] = sent(client);
    if (first === undefined || second === undefined) throw new Error("no greeting");
    say(client, first);
    expect(client.state).toBe("greeting");
    expect(sent(client)).toEqual([]);
    say(client, second);
    expect(client.state).toBe("ready");
    expect(sent(client)).toEqual([{ type: "exec", id, argv: ["true"], env: [], directory: "" }]);
    expect(events(client)).toEqual([{ type: "ready" }]);
  });

  test("an agent that comes up while greeting is greeted again", () => {
    const client = new ExecClient(1);
    client.greet();
    sent(client);
    say(client, { type: "hello", version: 1, nonce: 0 });
    expect(sent(client)).toEqual([{ type: "hello", version: 1, nonce: 3 }]);
  });

  test("an agent that comes up anew has lost its commands; waiting ones are kept", () => {
    const client = new ExecClient(1);
    connect(client);
    const id = client.start({ argv: ["sleep"] });
    sent(client);
    say(client, { type: "hello", version: 1, nonce: 0 });
    const waiting = client.start({ argv: ["next"] });
    expect(events(client)).toEqual([{ type: "ready" }, { type: "lost", id }]);
    const [hello] = sent(client);
    if (hello?.type !== "hello") throw new Error("no greeting");
    say(client, hello);
    expect(sent(client)).toMatchObject([{ type: "exec", id: waiting }]);
  });

  test("another version is told once and nothing runs", () => {
    const client = new ExecClient(1);
    const id = client.start({ argv: ["true"] });
    client.greet();
    say(client, { type: "hello", version: 2, nonce: 0 });
    expect(events(client)).toEqual([
      { type: "lost", id },
      { type: "incompatible", version: 2 },
    ]);
    expect(() => client.start({ argv: ["true"] })).toThrow(
      expect.objectContaining({ code: "E_EXEC_VERSION" }),
    );
  });

  test("credit is granted when output is taken, in steps of half a window", () => {
    const client = new ExecClient(1);
    connect(client);
    const id = client.start({ argv: ["yes"] });
    sent(client);
    for (let count = 0; count < 8; count++) {
      say(client, { type: "stdout", id, bytes: new Uint8Array(EXEC_WINDOW_BYTES / 8) });
    }
    expect(sent(client)).toEqual([]);
    events(client);
    const half = EXEC_WINDOW_BYTES / 2;
    expect(sent(client)).toEqual([
      { type: "credit", id, count: half },
      { type: "credit", id, count: half },
    ]);
  });

  test("an agent that sends more than it may loses that command, not our memory", () => {
    const client = new ExecClient(1);
    connect(client);
    const id = client.start({ argv: ["yes"] });
    sent(client);
    const chunk = new Uint8Array(EXEC_WINDOW_BYTES / 2);
    for (let count = 0; count < 3; count++) say(client, { type: "stderr", id, bytes: chunk });
    expect(events(client).at(-1)).toEqual({ type: "lost", id });
    expect(sent(client)).toContainEqual({ type: "kill", id, signal: 9 });
    say(client, { type: "stdout", id, bytes: chunk });
    expect(events(client)).toEqual([]);
  });

  test("standard input: within its credit, then its end, once", () => {
    const client = new ExecClient(1);
    connect(client);
    const id = client.start({ argv: ["cat"] });
    sent(client);
    expect(client.writeStdin(id, new Uint8Array(EXEC_WINDOW_BYTES))).toBe(true);
    expect(client.writeStdin(id, Uint8Array.of(1))).toBe(false);
    client.endStdin(id);
    const before = sent(client);
    expect(before.every((each) => each.type === "stdin")).toBe(true);
    say(client, { type: "credit", id, count: 100 });
    say(client, { type: "credit", id, count: 100 });
    expect(sent(client)).toEqual([
      { type: "stdin", id, bytes: Uint8Array.of(1) },
      { type: "stdin-end", id },
    ]);
  });

  test("as many commands as the agent takes, and not one more", () => {
    const client = new ExecClient(1);
    connect(client);
    const start = () => client.start({ argv: ["sleep"] });
    const ids = Array.from({ length: EXEC_MAX_COMMANDS }, start);
    expect(start).toThrow(expect.objectContaining({ code: "E_EXEC_LIMIT" }));
    say(client, { type: "exit", id: ids[0] ?? 0, exit: { kind: "exited", status: 0 } });
    expect(start).not.toThrow();
  });
});
