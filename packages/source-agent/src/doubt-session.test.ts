import { expect, test } from "vitest";
import { type DoubtAction, type DoubtEvent, DoubtSession } from "./doubt-session.ts";

const REASON = { code: "E_TEST", message: "a test" };

function answer(state: "live-here" | "not-here" | "moved-on", epoch = 4): DoubtEvent {
  return { kind: "message", message: { kind: "owner", lineage: "lineage", epoch, state } };
}

function run(...events: DoubtEvent[]): { session: DoubtSession; actions: DoubtAction[] } {
  const session = new DoubtSession({ migration: "m", lineage: "lineage", epoch: 4 });
  const actions: DoubtAction[] = [];
  const drain = () => {
    for (let a = session.poll(); a !== undefined; a = session.poll()) actions.push(a);
  };
  drain();
  for (const event of events) {
    session.handle(event);
    drain();
  }
  return { session, actions };
}

test("[SO6] asks until it is answered, and runs nothing before", () => {
  const lost: DoubtEvent = { kind: "link-lost", reason: REASON };
  const { session, actions } = run(lost, lost, answer("not-here", 3));
  expect(session.state.kind).toBe("asking");
  expect(actions.map(({ kind }) => kind)).toEqual(Array(3).fill(["new-link", "send"]).flat());
});

test.each([
  ["not-here", "here", 5],
  ["live-here", "there", 4],
  ["moved-on", "there", 4],
] as const)("[SO6] %s: it lives %s, recorded before it is said", (state, owner, epoch) => {
  const asked = run(answer(state));
  expect(asked.actions.at(-1)?.kind).toBe("record");
  const failed = run(answer(state), { kind: "record-failed", reason: REASON });
  expect(failed.actions.at(-1)?.kind).toBe("record");
  const done = run(answer(state), { kind: "recorded" });
  expect(done.actions.at(-1)).toEqual({ kind: "finished", owner, epoch });
});

test("[SO6] a person settles what cannot be asked", () => {
  const { actions } = run({ kind: "settle", live: "there" }, { kind: "recorded" });
  expect(actions.at(-1)).toEqual({ kind: "finished", owner: "there", epoch: 4 });
});
