/** Invitations that this agent has given out: each works once and not for long. Sans-IO. */
import { timingSafeEqual } from "node:crypto";
import { agentError } from "../errors.ts";
import { SECRET_BYTES } from "./token.ts";

/** How long an invitation holds. */
export const INVITATION_MS = 10 * 60 * 1000;
/** Open at once; the oldest goes when there are more. */
const MAX_INVITATIONS = 16;

interface Invitation {
  readonly secret: Uint8Array;
  readonly untilMs: number;
}

/** See the head of this file. Times are milliseconds of any clock that only goes forward. */
export class Invitations {
  #open: readonly Invitation[] = [];

  /** `secret` is SECRET_BYTES random bytes. */
  add(secret: Uint8Array, nowMs: number): void {
    const kept = this.#open.filter(({ untilMs }) => untilMs > nowMs).slice(1 - MAX_INVITATIONS);
    this.#open = [...kept, { secret, untilMs: nowMs + INVITATION_MS }];
  }

  /** Uses an invitation up; E_PAIR_REFUSED where there is none with that secret. */
  redeem(secret: Uint8Array, nowMs: number): void {
    const found = this.#open.find(
      (invitation) =>
        invitation.untilMs > nowMs &&
        secret.length === SECRET_BYTES &&
        timingSafeEqual(invitation.secret, secret),
    );
    if (found === undefined) {
      throw agentError(
        "E_PAIR_REFUSED",
        "the pairing token is unknown, was used already or has expired",
        "make a new one with `dejavm pair` on the other host",
      );
    }
    this.#open = this.#open.filter((invitation) => invitation !== found);
  }
}
