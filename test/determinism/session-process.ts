/** A recorded session replayed in a process: `{ paths, message }` on stdin, its end on stdout. */
import { readFileSync } from "node:fs";
import { type GuestPaths, openGuest } from "./guest-files.ts";
import { replaySession } from "./session.ts";
import { fromMessage, type SessionMessage } from "./session-message.ts";
import { sha256 } from "./sha256.ts";

const input = readFileSync(0, "utf8");
const { paths, message } = JSON.parse(input) as { paths: GuestPaths; message: SessionMessage };
const codecs = {
  sha256,
  decompress: (): never => {
    throw new Error("a recording that was just made is not compressed");
  },
};
const end = replaySession(openGuest(paths), fromMessage(message), message.way, codecs);
process.stdout.write(JSON.stringify(end));
