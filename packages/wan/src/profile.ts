/**
 * What a wide-area path is like, and how that changes over time: the built-in profiles and the
 * JSON files that people write. Pure; the file's form is in docs/WAN.md.
 */
import { CodedError } from "@dejavm/base";
import { z } from "zod";

/** Codes of this package; docs/errors.md has their causes and remedies. */
export type WanErrorCode = "E_WAN_PROFILE" | "E_WAN_ADDRESS" | "E_WAN_LISTEN";

/** One direction of a path. */
export interface LinkConditions {
  /** Propagation time one way, milliseconds. */
  readonly delayMs: number;
  /** Further delay of each segment, even between 0 and this; a connection stays in order. */
  readonly jitterMs: number;
  /** TCP payload that the bottleneck passes on, Mbit/s. */
  readonly rateMbit: number;
  /**
   * What waits in front of the bottleneck at most, for all connections together. Undefined: what
   * the path holds in one round trip of twice `delayMs`, the classical size; 64 KiB at least.
   */
  readonly queueBytes: number | undefined;
  /** Share of segments that arrive `stallMs` late, as after a loss; what follows waits for them. */
  readonly stalledShare: number;
  readonly stallMs: number;
}

/** When a step of the script happens. Time begins with the first connection. */
export type Trigger =
  | { readonly kind: "time"; readonly atMs: number }
  /** After so many bytes were delivered in that direction. */
  | { readonly kind: "bytes"; readonly direction: Direction; readonly bytes: number };

/** `up` leads from who connects to who listens. */
export type Direction = "up" | "down";

/** The two directions, in the order in which everything lists them. */
export const DIRECTIONS: readonly Direction[] = ["up", "down"];

/** Changes of a direction's conditions; what is absent stays. */
export type ConditionChanges = { readonly [K in keyof LinkConditions]?: LinkConditions[K] };

/** What can happen to a path. */
export type WanAction =
  | {
      readonly kind: "set";
      readonly up: ConditionChanges;
      readonly down: ConditionChanges;
    }
  /** Nothing leaves the bottleneck for that long; nothing is lost. */
  | { readonly kind: "stall"; readonly forMs: number; readonly directions: readonly Direction[] }
  /** Every connection is reset at both ends; new ones are reset, too, for that long. */
  | { readonly kind: "cut"; readonly forMs: number }
  /**
   * Connections that are open lose the end that is not `kept`; who is kept hears nothing, and what
   * it sends vanishes. New connections vanish the same way for that long.
   */
  | { readonly kind: "half-open"; readonly forMs: number; readonly kept: "client" | "server" };

/** One step of a script. */
export interface WanStep {
  readonly trigger: Trigger;
  readonly action: WanAction;
}

/** A path and what becomes of it. */
export interface WanProfile {
  readonly name: string;
  readonly up: LinkConditions;
  readonly down: LinkConditions;
  readonly script: readonly WanStep[];
}

function symmetric(name: string, rttMs: number, rateMbit: number): WanProfile {
  const conditions: LinkConditions = {
    delayMs: rttMs / 2,
    jitterMs: 0,
    rateMbit,
    queueBytes: undefined,
    stalledShare: 0,
    stallMs: 0,
  };
  return { name, up: conditions, down: conditions, script: [] };
}

/** The profiles that have a name. */
export const WAN_PROFILES: readonly WanProfile[] = [
  symmetric("metro", 10, 1000),
  symmetric("continental", 60, 200),
  symmetric("intercontinental", 150, 50),
];

const MAX_SCRIPT_STEPS = 10_000;
const MAX_MS = 86_400_000;

const milliseconds = z.number().min(0).max(MAX_MS);
const changes = z.strictObject({
  delayMs: z.number().min(0).max(60_000).exactOptional(),
  jitterMs: z.number().min(0).max(60_000).exactOptional(),
  rateMbit: z.number().min(0.001).max(100_000).exactOptional(),
  queueBytes: z
    .int()
    .min(1448)
    .max(2 ** 30)
    .exactOptional(),
  stalledShare: z.number().min(0).max(1).exactOptional(),
  stallMs: z.number().min(0).max(60_000).exactOptional(),
});
const action = z.discriminatedUnion("do", [
  z.strictObject({
    do: z.literal("set"),
    both: changes.default({}),
    up: changes.default({}),
    down: changes.default({}),
  }),
  z.strictObject({
    do: z.literal("stall"),
    forMs: milliseconds,
    direction: z.enum(["up", "down", "both"]).default("both"),
  }),
  z.strictObject({ do: z.literal("cut"), forMs: milliseconds.default(0) }),
  z.strictObject({
    do: z.literal("half-open"),
    forMs: milliseconds.default(0),
    kept: z.enum(["client", "server"]),
  }),
]);
const step = z
  .looseObject({
    atMs: milliseconds.optional(),
    atUpBytes: z.int().min(0).optional(),
    atDownBytes: z.int().min(0).optional(),
  })
  .transform(({ atMs, atUpBytes, atDownBytes, ...rest }, context): WanStep => {
    const trigger = chooseTrigger(atMs, atUpBytes, atDownBytes);
    if (trigger === undefined) context.addIssue("want one of atMs, atUpBytes, atDownBytes");
    const parsed = action.safeParse(rest);
    for (const { path, message } of parsed.error?.issues ?? []) {
      context.addIssue({ code: "custom", path, message });
    }
    if (trigger === undefined || !parsed.success) return z.NEVER;
    return { trigger, action: toAction(parsed.data) };
  });
const file = z.strictObject({
  name: z.string().min(1).max(100).default("custom"),
  base: z.enum(["metro", "continental", "intercontinental"]).default("continental"),
  both: changes.default({}),
  up: changes.default({}),
  down: changes.default({}),
  script: z.array(step).max(MAX_SCRIPT_STEPS).default([]),
});

/** The profile in the text of a file, or E_WAN_PROFILE with the field that is wrong. */
export function parseWanProfile(text: string, source: string): WanProfile {
  const { name, base, both, up, down, script } = parse(file, text, source);
  const start = findWanProfile(base);
  if (start === undefined) throw profileError(source, `there is no profile ${base}`);
  return {
    name,
    up: { ...start.up, ...both, ...up },
    down: { ...start.down, ...both, ...down },
    script,
  };
}

/** An action in the form that scripts have, as JSON: `{"do":"cut","forMs":1000}`. */
export function parseWanAction(text: string, source: string): WanAction {
  return toAction(parse(action, text, source));
}

/** The built-in profile of that name. */
export function findWanProfile(name: string): WanProfile | undefined {
  return WAN_PROFILES.find((profile) => profile.name === name);
}

/** What may wait in front of the bottleneck, bytes. */
export function queueLimit(conditions: LinkConditions): number {
  const { queueBytes, delayMs, rateMbit } = conditions;
  return queueBytes ?? Math.max(64 * 1024, 2 * delayMs * bytesPerMs(rateMbit));
}

/** Bytes of payload a millisecond. */
export function bytesPerMs(rateMbit: number): number {
  return rateMbit * 125;
}

function parse<T>(schema: z.ZodType<T>, text: string, source: string): T {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw profileError(source, cause instanceof Error ? cause.message : "it is no JSON");
  }
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const path = issue?.path.join(".") ?? "";
  throw profileError(source, `${path === "" ? "" : `${path}: `}${issue?.message ?? "invalid"}`);
}

function profileError(source: string, what: string): CodedError<WanErrorCode> {
  return new CodedError("E_WAN_PROFILE", `cannot use the WAN profile ${source}: ${what}`, {
    hint: "want metro, continental, intercontinental or a JSON file as docs/WAN.md describes it",
  });
}

function chooseTrigger(
  atMs: number | undefined,
  atUpBytes: number | undefined,
  atDownBytes: number | undefined,
): Trigger | undefined {
  const given: Trigger[] = [];
  if (atMs !== undefined) given.push({ kind: "time", atMs });
  if (atUpBytes !== undefined) given.push({ kind: "bytes", direction: "up", bytes: atUpBytes });
  if (atDownBytes !== undefined) {
    given.push({ kind: "bytes", direction: "down", bytes: atDownBytes });
  }
  return given.length === 1 ? given[0] : undefined;
}

function toAction(parsed: z.infer<typeof action>): WanAction {
  switch (parsed.do) {
    case "set":
      return {
        kind: "set",
        up: { ...parsed.both, ...parsed.up },
        down: { ...parsed.both, ...parsed.down },
      };
    case "stall": {
      const directions = parsed.direction === "both" ? DIRECTIONS : [parsed.direction];
      return { kind: "stall", forMs: parsed.forMs, directions };
    }
    case "cut":
      return { kind: "cut", forMs: parsed.forMs };
    case "half-open":
      return { kind: "half-open", forMs: parsed.forMs, kept: parsed.kept };
  }
}
