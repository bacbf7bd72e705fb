/** A recorded session replayed in a browser's worker; answers with its end. */
import { replaySession } from "./session.ts";
import { fromMessage, type SessionMessage } from "./session-message.ts";
import { sha256 } from "./sha256.ts";
import { answerWith } from "./worker-guest.ts";

const CODECS = {
  sha256,
  decompress: (): never => {
    throw new Error("a recording that was just made is not compressed");
  },
};

answerWith((files, message: SessionMessage) =>
  replaySession(files, fromMessage(message), message.way, CODECS),
);
