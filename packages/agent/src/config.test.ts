import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { agentConfig } from "./config.ts";
import { prepareStateDirectory, stateDirectory } from "./state-dir.ts";
import { temporaryDirectory } from "./test-support/temporary.ts";

function fileWith(text: string): string {
  const path = join(temporaryDirectory(), "agent.json");
  writeFileSync(path, text);
  return path;
}

test("flags come before the file, the file before what is usual", () => {
  const file = fileWith('{"name":"f","listen":"[::1]:80","logLevel":"warn"}');
  expect(agentConfig({ name: "flag", stateDir: "/s" }, file)).toEqual({
    name: "flag",
    listen: { host: "::1", port: 80 },
    advertise: undefined,
    metrics: undefined,
    logLevel: "warn",
    stateDir: "/s",
  });
  expect(agentConfig({ listen: "none" }, file).listen).toBeUndefined();
});

test.each([
  ["{", "JSON"],
  ['{"nam":"x"}', "nam"],
  ['{"name":"-x"}', "name"],
  ['{"listen":"7447"}', "listen"],
  ['{"logLevel":"loud"}', "logLevel"],
])("%s is E_AGENT_CONFIG and says where", (text, where) => {
  const wrong: unknown = expect.objectContaining({
    code: "E_AGENT_CONFIG",
    message: expect.stringContaining(where) as string,
  });
  expect(() => agentConfig({}, fileWith(text))).toThrow(wrong);
});

test("a file that was named must be there", () => {
  expect(() => agentConfig({}, "/nowhere/agent.json")).toThrow(
    expect.objectContaining({ code: "E_FILE_NOT_FOUND" }),
  );
});

test("the state directory follows XDG and must be short enough for sockets", () => {
  expect(stateDirectory(undefined, { XDG_STATE_HOME: "/x" })).toBe("/x/dejavm");
  expect(stateDirectory("/given", {})).toBe("/given");
  const long = join(temporaryDirectory(), "x".repeat(80));
  expect(() => prepareStateDirectory(long)).toThrow(
    expect.objectContaining({ code: "E_STATE_DIR" }),
  );
});
