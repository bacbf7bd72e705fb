/**
 * The wire format between the host and the exec agent in the guest (docs/EXEC_AGENT.md). Pure.
 *
 *     7E | escaped: type u8, command u32, payload, CRC-32 u32 | 7E        (little-endian)
 *
 * Within a frame 7E is 7D 5E and 7D is 7D 5D, so a 7E always ends what came before: a reader that
 * begins anywhere, or reads garbage, is in step again at the next frame.
 */
import { ByteReader, ByteWriter, CodedError, crc32, unreachable } from "@dejavm/base";

/** The version that this host speaks; an agent of another version is not used. */
export const EXEC_PROTOCOL_VERSION = 1;
/** The name of the agent's virtio-console port. */
export const EXEC_PORT_NAME = "org.dejavm.agent";
/** Output (both streams together) or input that may be under way unread, per command. */
export const EXEC_WINDOW_BYTES = 65536;
/** Commands that the agent runs at once. */
export const EXEC_MAX_COMMANDS = 32;
/** Bytes of data in one frame. */
export const EXEC_CHUNK_BYTES = 8192;
/** An unescaped frame body: above all the arguments and environment of a command. */
export const EXEC_MAX_BODY_BYTES = 65536;

/** How a command ended. */
export type ExecExit =
  | { readonly kind: "exited"; readonly status: number }
  | { readonly kind: "signalled"; readonly signal: number }
  /** `errno` is Linux's: 2 no such program, 13 not executable, 11 too many commands. */
  | { readonly kind: "not-started"; readonly errno: number };

/** Any message, in either direction. `id` names a command; the host chooses it. */
export type ExecMessage =
  | { readonly type: "hello"; readonly version: number; readonly nonce: number }
  | {
      readonly type: "exec";
      readonly id: number;
      readonly argv: readonly string[];
      /** `NAME=value`, added to the agent's defaults. */
      readonly env: readonly string[];
      /** Empty: /root. */
      readonly directory: string;
    }
  | { readonly type: "stdin"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "stdin-end"; readonly id: number }
  | { readonly type: "credit"; readonly id: number; readonly count: number }
  | { readonly type: "kill"; readonly id: number; readonly signal: number }
  | { readonly type: "stdout"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "stderr"; readonly id: number; readonly bytes: Uint8Array }
  | { readonly type: "exit"; readonly id: number; readonly exit: ExecExit };

const TYPE_CODES = {
  hello: 1,
  exec: 2,
  stdin: 3,
  "stdin-end": 4,
  credit: 5,
  kill: 6,
  stdout: 7,
  stderr: 8,
  exit: 9,
} as const satisfies Record<ExecMessage["type"], number>;

const EXIT_CODES = { exited: 0, signalled: 1, "not-started": 2 } as const;

const FLAG = 0x7e;
const ESCAPE = 0x7d;
const ESCAPE_XOR = 0x20;
const HEADER_BYTES = 5;
const CRC_BYTES = 4;

/** Encodes one message as a frame. Throws `E_EXEC_LIMIT` if it is larger than a frame may be. */
export function encodeExecMessage(message: ExecMessage): Uint8Array {
  const body = new ByteWriter();
  body.u8(TYPE_CODES[message.type]).u32(message.type === "hello" ? 0 : message.id);
  writePayload(body, message);
  if (body.length + CRC_BYTES > EXEC_MAX_BODY_BYTES) {
    throw new CodedError(
      "E_EXEC_LIMIT",
      `cannot send a command of ${body.length} bytes: at most ${EXEC_MAX_BODY_BYTES - CRC_BYTES}`,
      { hint: "pass long data on standard input" },
    );
  }
  body.u32(crc32(body.finish()));
  return frame(body.finish());
}

function writePayload(out: ByteWriter, message: ExecMessage): void {
  switch (message.type) {
    case "hello":
      out.u16(message.version).u32(message.nonce);
      return;
    case "exec":
      writeTexts(out, message.argv);
      writeTexts(out, message.env);
      writeText(out, message.directory);
      return;
    case "stdin":
    case "stdout":
    case "stderr":
      out.bytes(message.bytes);
      return;
    case "stdin-end":
      return;
    case "credit":
      out.u32(message.count);
      return;
    case "kill":
      out.u8(message.signal);
      return;
    case "exit":
      out.u8(EXIT_CODES[message.exit.kind]).u32(exitValue(message.exit));
      return;
    default:
      unreachable(message, "exec message");
  }
}

function exitValue(exit: ExecExit): number {
  switch (exit.kind) {
    case "exited":
      return exit.status;
    case "signalled":
      return exit.signal;
    case "not-started":
      return exit.errno;
    default:
      return unreachable(exit, "exit");
  }
}

function writeTexts(out: ByteWriter, texts: readonly string[]): void {
  out.u16(texts.length);
  for (const text of texts) writeText(out, text);
}

function writeText(out: ByteWriter, text: string): void {
  const bytes = new TextEncoder().encode(text);
  if (bytes.length > 0xffff) {
    throw new CodedError("E_EXEC_LIMIT", `cannot send an argument of ${bytes.length} bytes`, {
      hint: "pass long data on standard input",
    });
  }
  out.u16(bytes.length).bytes(bytes);
}

function frame(body: Uint8Array): Uint8Array {
  let escapes = 0;
  for (const byte of body) if (byte === FLAG || byte === ESCAPE) escapes++;
  const framed = new Uint8Array(body.length + escapes + 2);
  let at = 0;
  framed[at++] = FLAG;
  for (const byte of body) {
    if (byte === FLAG || byte === ESCAPE) {
      framed[at++] = ESCAPE;
      framed[at++] = byte ^ ESCAPE_XOR;
    } else {
      framed[at++] = byte;
    }
  }
  framed[at] = FLAG;
  return framed;
}

/** Takes bytes in pieces of any size, gives whole messages; what is no frame is dropped. */
export class ExecDecoder {
  readonly #body = new Uint8Array(EXEC_MAX_BODY_BYTES);
  #length = 0;
  #escaped = false;
  #oversized = false;
  #rejectedFrames = 0;

  /** Frames dropped so far: damaged, of unknown type, too long, or no frames at all. */
  get rejectedFrames(): number {
    return this.#rejectedFrames;
  }

  /** The messages that `bytes` completes. Their byte arrays are copies. */
  push(bytes: Uint8Array): ExecMessage[] {
    const messages: ExecMessage[] = [];
    for (const byte of bytes) {
      if (byte === FLAG) {
        const message = this.#end();
        if (message !== undefined) messages.push(message);
      } else if (byte === ESCAPE) {
        this.#escaped = true;
      } else {
        this.#append(this.#escaped ? byte ^ ESCAPE_XOR : byte);
        this.#escaped = false;
      }
    }
    return messages;
  }

  #append(byte: number): void {
    if (this.#length === this.#body.length) this.#oversized = true;
    else this.#body[this.#length++] = byte;
  }

  #end(): ExecMessage | undefined {
    const body = this.#body.slice(0, this.#length);
    const broken = this.#oversized || this.#escaped;
    this.#length = 0;
    this.#escaped = false;
    this.#oversized = false;
    if (body.length === 0 && !broken) return undefined;
    const message = broken ? undefined : decodeExecBody(body);
    if (message === undefined) this.#rejectedFrames++;
    return message;
  }
}

/** Decodes an unescaped frame body; undefined unless checksum, type, lengths and values fit. */
export function decodeExecBody(body: Uint8Array): ExecMessage | undefined {
  if (body.length < HEADER_BYTES + CRC_BYTES || body.length > EXEC_MAX_BODY_BYTES) return undefined;
  const checked = body.subarray(0, -CRC_BYTES);
  const crc = new ByteReader(body.subarray(-CRC_BYTES), truncated).u32();
  if (crc32(checked) !== crc) return undefined;
  try {
    const reader = new ByteReader(checked, truncated);
    const message = readMessage(reader.u8(), reader.u32(), reader);
    return reader.remaining === 0 ? message : undefined;
  } catch (error) {
    if (error instanceof CodedError || error instanceof TypeError) return undefined;
    throw error;
  }
}

function readMessage(code: number, id: number, reader: ByteReader): ExecMessage | undefined {
  const rest = () => reader.bytes(reader.remaining).slice();
  switch (code) {
    case TYPE_CODES.hello:
      if (id !== 0) return undefined;
      return { type: "hello", version: reader.u16(), nonce: reader.u32() };
    case TYPE_CODES.exec: {
      const argv = readTexts(reader);
      const env = readTexts(reader);
      return { type: "exec", id, argv, env, directory: readText(reader) };
    }
    case TYPE_CODES.stdin:
      return { type: "stdin", id, bytes: rest() };
    case TYPE_CODES["stdin-end"]:
      return { type: "stdin-end", id };
    case TYPE_CODES.credit:
      return { type: "credit", id, count: reader.u32() };
    case TYPE_CODES.kill:
      return { type: "kill", id, signal: reader.u8() };
    case TYPE_CODES.stdout:
      return { type: "stdout", id, bytes: rest() };
    case TYPE_CODES.stderr:
      return { type: "stderr", id, bytes: rest() };
    case TYPE_CODES.exit: {
      const exit = readExit(reader.u8(), reader.u32());
      return exit === undefined ? undefined : { type: "exit", id, exit };
    }
    default:
      return undefined;
  }
}

function readExit(kind: number, value: number): ExecExit | undefined {
  switch (kind) {
    case EXIT_CODES.exited:
      return value <= 255 ? { kind: "exited", status: value } : undefined;
    case EXIT_CODES.signalled:
      return value <= 64 ? { kind: "signalled", signal: value } : undefined;
    case EXIT_CODES["not-started"]:
      return { kind: "not-started", errno: value };
    default:
      return undefined;
  }
}

function readTexts(reader: ByteReader): string[] {
  const count = reader.u16();
  const texts: string[] = [];
  for (let index = 0; index < count; index++) texts.push(readText(reader));
  return texts;
}

function readText(reader: ByteReader): string {
  return new TextDecoder("utf-8", { fatal: true }).decode(reader.bytes(reader.u16()));
}

function truncated(detail: string): CodedError {
  return new CodedError("E_EXEC_LIMIT", detail);
}
