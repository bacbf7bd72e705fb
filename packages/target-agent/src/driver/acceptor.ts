/** Connections that other agents make: each goes to the link that its first message names. */
import {
  CLOSE_CODE,
  type ControlMessageOf,
  decodeFrame,
  type FrameSocket,
  type FrameSocketEvents,
  type Hello,
} from "@dejavm/protocol";
import { ownerByRecords } from "../owner.ts";
import { type OwnerOf, type TargetHost, TargetMigration } from "./target-migration.ts";

/** Migrations that come in at once. */
const MAX_INCOMING = 8;
/** A connection says who it is within this time, or it is closed. */
const HELLO_MS = 10_000;

/** See the head of this file. */
export class Acceptor {
  readonly #host: TargetHost;
  readonly #links = new Map<string, TargetMigration>();

  constructor(host: TargetHost) {
    this.#host = host;
  }

  /** Migrations under way. */
  get migrations(): readonly TargetMigration[] {
    return [...this.#links.values()];
  }

  /** A connection was made by a peer that has been authenticated; gives what it tells. */
  accept(socket: FrameSocket): FrameSocketEvents {
    let events: FrameSocketEvents | undefined;
    const timer = setTimeout(() => {
      socket.close(CLOSE_CODE.timeout, "no hello came");
    }, HELLO_MS);
    return {
      onMessage: (bytes) => {
        if (events !== undefined) return events.onMessage(bytes);
        clearTimeout(timer);
        events = this.#greet(socket, bytes);
      },
      onClose: (code) => {
        clearTimeout(timer);
        events?.onClose(code);
      },
    };
  }

  /** Whoever was cut off at the end may still want to hear the last message. */
  async #forgetAfter(migration: TargetMigration, link: string): Promise<void> {
    await migration.done;
    setTimeout(() => this.#links.delete(link), HELLO_MS).unref();
  }

  /** A migration under way decides; else what is recorded. */
  #ownerOf(question: ControlMessageOf<"ask-owner">): ReturnType<OwnerOf> {
    const { lineage, epoch } = question;
    const underWay = this.migrations.find((migration) => {
      return migration.lineage === lineage && !migration.isOver;
    });
    if (underWay !== undefined) return underWay.decideOwner();
    const known = this.#host.store.findLineage(lineage);
    if (known === undefined) return "not-here";
    return ownerByRecords(this.#host.store.ownershipHistory(known.id), epoch);
  }

  #greet(socket: FrameSocket, bytes: Uint8Array): FrameSocketEvents | undefined {
    const hello = helloOf(bytes);
    if (hello === undefined) {
      socket.close(CLOSE_CODE.protocolError, "the first message is no hello");
      return undefined;
    }
    const known = this.#links.get(hello.link);
    if (known !== undefined) return known.attach(socket, hello);
    if (hello.known) {
      socket.close(CLOSE_CODE.linkUnknown, "this agent was restarted");
      return undefined;
    }
    if (this.#links.size >= MAX_INCOMING) {
      socket.close(CLOSE_CODE.busy, "too many migrations at once");
      return undefined;
    }
    const migration = new TargetMigration(this.#host, hello.link, {
      ownerOf: (question) => this.#ownerOf(question),
      giveWay: (lineage) => {
        const others = this.migrations.filter((other) => other.lineage === lineage);
        return others.every((other) => other.giveWay());
      },
    });
    this.#links.set(hello.link, migration);
    void this.#forgetAfter(migration, hello.link);
    return migration.attach(socket, hello);
  }
}

function helloOf(bytes: Uint8Array): Hello | undefined {
  try {
    const frame = decodeFrame(bytes);
    return frame.kind === "hello" ? frame : undefined;
  } catch {
    return undefined;
  }
}
