/**
 * What a VM may reach and who may reach it: plain data that belongs to the VM and moves with it.
 * The first rule that fits decides; where none does, `DEFAULT_RULES` follow.
 */
import { address, formatAddress, inRange, parseRange } from "./address.ts";
import { gatewayError } from "./errors.ts";

/** The guest's network, as QEMU's user network has it. */
export const NETWORK = {
  range: { base: address("10.0.2.0"), prefixBits: 24 },
  guest: address("10.0.2.15"),
  /** Answers as the gateway; connections to it mean the host itself. */
  gateway: address("10.0.2.2"),
  dns: address("10.0.2.3"),
  netmask: address("255.255.255.0"),
  broadcast: address("10.0.2.255"),
} as const;

/** Where a connection to the gateway's own address goes. */
export const HOST_LOOPBACK = "127.0.0.1";

/** One rule. Each field that is absent fits everything. */
export interface PolicyRule {
  readonly action: "allow" | "deny";
  /** `out`: opened by the guest; `in`: through a port forward. Absent: `out`. */
  readonly direction?: "out" | "in";
  readonly protocol?: "tcp" | "udp";
  /** `a.b.c.d`, `a.b.c.d/bits`, or `host`: the host's loopback behind the gateway's address. */
  readonly address?: string;
  /** Of the far end for `out`, of the guest for `in`; first and last. */
  readonly ports?: readonly [number, number];
}

/** What is asked for: the address as the guest or the peer has it. */
export interface Attempt {
  readonly direction: "out" | "in";
  readonly protocol: "tcp" | "udp";
  readonly address: number;
  readonly port: number;
}

/** The most rules of one VM: each packet of a new flow looks at all of them. */
export const MAX_RULES = 256;

/**
 * Where the VM's own rules say nothing. The host's loopback and link-local addresses, where clouds
 * keep their metadata, are not the guest's to see; nor is anything that is no single host.
 */
const DEFAULT_RULES: readonly PolicyRule[] = [
  { action: "allow", direction: "in" },
  { action: "deny", address: "host" },
  { action: "deny", address: "0.0.0.0/8" },
  { action: "allow", address: "10.0.2.3", ports: [53, 53] },
  { action: "deny", address: "10.0.2.0/24" },
  { action: "deny", address: "127.0.0.0/8" },
  { action: "deny", address: "169.254.0.0/16" },
  { action: "deny", address: "224.0.0.0/3" },
  { action: "allow" },
];

type Matcher = (attempt: Attempt) => boolean;

/** The rules of one VM, ready to be asked. */
export class Policy {
  readonly #rules: readonly { readonly allows: boolean; readonly fits: Matcher }[];

  /** Throws E_NET_POLICY where a rule cannot be understood. */
  constructor(rules: readonly PolicyRule[] = []) {
    if (rules.length > MAX_RULES) {
      throw gatewayError("E_NET_POLICY", `cannot use ${rules.length} rules`, `want ${MAX_RULES}`);
    }
    this.#rules = [...rules, ...DEFAULT_RULES].map((rule) => ({
      allows: rule.action === "allow",
      fits: matcher(rule),
    }));
  }

  allows(attempt: Attempt): boolean {
    return this.#rules.find(({ fits }) => fits(attempt))?.allows ?? false;
  }
}

function matcher(rule: PolicyRule): Matcher {
  const { direction = "out", protocol, ports } = rule;
  const atAddress = addressMatcher(rule.address);
  if (ports !== undefined && !(ports[0] >= 0 && ports[0] <= ports[1] && ports[1] <= 65_535)) {
    throw badRule(`${ports[0]}-${ports[1]} are no ports`);
  }
  return (attempt) =>
    attempt.direction === direction &&
    (protocol === undefined || attempt.protocol === protocol) &&
    (ports === undefined || (attempt.port >= ports[0] && attempt.port <= ports[1])) &&
    atAddress(attempt.address);
}

function addressMatcher(text: string | undefined): (value: number) => boolean {
  if (text === undefined) return () => true;
  if (text === "host") return (value) => value === NETWORK.gateway;
  const range = parseRange(text);
  if (range === undefined) throw badRule(`${text} is no address`);
  return (value) => inRange(value, range);
}

/**
 * A rule from its text: `[in:][tcp:|udp:]ADDRESS[/BITS][:PORT[-PORT]]`, where ADDRESS may be `host`
 * or `any`. Throws E_NET_POLICY.
 */
export function parseRule(action: PolicyRule["action"], text: string): PolicyRule {
  const match =
    /^(?:(in|out):)?(?:(tcp|udp):)?(any|host|[\d./]+)(?::(\d{1,5})(?:-(\d{1,5}))?)?$/.exec(text);
  if (match === null) throw badRule(`${JSON.stringify(text)} is no rule`);
  const [, direction, protocol, where, first, last] = match;
  const rule: PolicyRule = {
    action,
    ...(direction === "in" ? { direction: "in" as const } : {}),
    ...(protocol === "tcp" || protocol === "udp" ? { protocol } : {}),
    ...(where === undefined || where === "any" ? {} : { address: where }),
    ...(first === undefined ? {} : { ports: [Number(first), Number(last ?? first)] as const }),
  };
  matcher(rule);
  return rule;
}

/** A rule as `parseRule` would take it. */
export function formatRule(rule: PolicyRule): string {
  const { direction, protocol, ports } = rule;
  const head = `${direction === "in" ? "in:" : ""}${protocol === undefined ? "" : `${protocol}:`}`;
  const range = rule.address === undefined ? undefined : parseRange(rule.address);
  const where =
    range === undefined
      ? (rule.address ?? "any")
      : `${formatAddress(range.base)}${range.prefixBits === 32 ? "" : `/${range.prefixBits}`}`;
  const tail = ports === undefined ? "" : `:${ports[0] === ports[1] ? ports[0] : ports.join("-")}`;
  return `${head}${where}${tail}`;
}

function badRule(what: string): Error {
  return gatewayError(
    "E_NET_POLICY",
    `cannot use a network rule: ${what}`,
    "want [in:][tcp:|udp:]ADDRESS[/BITS][:PORT[-PORT]], such as tcp:192.0.2.0/24:80-90 or host:53",
  );
}
