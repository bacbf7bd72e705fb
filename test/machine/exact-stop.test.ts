/** `run(until)` stops exactly there, and where a run is cut shows nowhere. */
import { Prng } from "@dejavm/base";
import { describe, expect, test } from "vitest";
import { BARE_PROGRAMS } from "./programs/bare.ts";
import { virtioProgram } from "./programs/virtio.ts";
import { Guest, inGate } from "./support/guest.ts";

const SEED = 0x5eed_0001;
const PROGRAMS = [...BARE_PROGRAMS, { ...virtioProgram(), length: 620 }];

describe.each(PROGRAMS)("$name", (program) => {
  test("[MA1] [MA2] each budget from power-on ends at its position, as single steps do", () => {
    const stepped = new Guest(program);
    const whole = new Guest(program);
    const start = whole.snapshot();
    const length = inGate(Math.min(60, program.length), program.length);
    for (let until = 1; until <= length; until++) {
      expect(stepped.runTo(until)).toEqual({ kind: "budget" });
      expect(stepped.position).toBe(until);
      whole.restore(start);
      expect(whole.runTo(until)).toEqual({ kind: "budget" });
      expect(whole.position).toBe(until);
      if (whole.machine.digest() === stepped.machine.digest()) continue;
      expect(whole.machine.save()).toEqual(stepped.machine.save());
      expect(whole.fingerprint()).toEqual(stepped.fingerprint());
    }
    expect(whole.fingerprint()).toEqual(stepped.fingerprint());
    expect(whole.takeOutputs()).toBe(stepped.takeOutputs());
  });

  test("[MA2] a run cut at random positions equals the uncut run", () => {
    const end = program.length * 10;
    const whole = new Guest(program);
    whole.runTo(end);
    const random = new Prng(SEED);
    const cut = new Guest(program);
    for (let at = 0; at < end; ) {
      at = Math.min(end, at + random.below(90));
      expect(cut.runTo(at)).toEqual({ kind: "budget" });
    }
    expect(cut.fingerprint()).toEqual(whole.fingerprint());
    expect(cut.takeOutputs()).toBe(whole.takeOutputs());
  });
});
