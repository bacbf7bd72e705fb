/** `dejavm pair` and `dejavm peers`. */
import {
  agentSocket,
  ControlClient,
  invitationSchema,
  peerSchema,
  stateDirectory,
} from "@dejavm/agent";
import { z } from "zod";
import { usageError } from "../errors.ts";

/** Options as commander gives them. */
export interface PairOptions {
  readonly json?: boolean;
  readonly stateDir?: string;
}

/** Gives out a token, or redeems one. Throws E_AGENT_ABSENT, E_PAIR_*, E_PEER_*. */
export async function pair(
  address: string | undefined,
  token: string | undefined,
  options: PairOptions,
): Promise<void> {
  const client = agentClient(options);
  if (address === undefined) {
    const invitation = await client.ask({
      method: "POST",
      path: "/v1/invitations",
      answer: invitationSchema,
    });
    if (options.json === true) print(invitation);
    else {
      process.stderr.write("on the other host, within 10 minutes:\n");
      process.stdout.write(`dejavm pair ${invitation.address} ${invitation.token}\n`);
    }
    return;
  }
  if (token === undefined) {
    throw usageError("cannot pair without a token", "`dejavm pair` on the other host prints one");
  }
  const peer = await client.ask({
    method: "POST",
    path: "/v1/pairings",
    body: { address, token },
    answer: peerSchema,
  });
  if (options.json === true) print(peer);
  else process.stderr.write(`paired with ${peer.name}\n`);
}

/** Lists peers, or forgets one. Throws E_AGENT_ABSENT and E_PEER_UNKNOWN. */
export async function peers(options: PairOptions & { readonly rm?: string }): Promise<void> {
  const client = agentClient(options);
  if (options.rm !== undefined) {
    const path = `/v1/peers/${encodeURIComponent(options.rm)}`;
    await client.ask({ method: "DELETE", path, answer: z.object({}) });
    return;
  }
  const answer = z.object({ peers: z.array(peerSchema) });
  const { peers: known } = await client.ask({ method: "GET", path: "/v1/peers", answer });
  if (options.json === true) {
    print(known);
    return;
  }
  for (const { name, address = "dials only", fingerprint } of known) {
    process.stdout.write(`${name}  ${address}  ${fingerprint.slice(0, 16)}\n`);
  }
}

function agentClient({ stateDir }: PairOptions): ControlClient {
  return new ControlClient(agentSocket(stateDirectory(stateDir)));
}

function print(value: unknown): void {
  process.stdout.write(`${JSON.stringify(value)}\n`);
}
