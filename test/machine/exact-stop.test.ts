/** `run(until)` stops exactly there, and where a run is cut shows nowhere. */
import { Prng } from "@dejavm/base";
import { position } from "@dejavm/machine";
import { describe, expect, test } from "vitest";
import { BARE_PROGRAMS } from "./programs/bare.ts";
import {
  boot,
  FOREVER,
  fingerprint,
  outputText,
  restore,
  runTo,
  snapshot,
} from "./support/guest.ts";

const SEED = 0x5eed_0001;

describe.each(BARE_PROGRAMS)("$name", (program) => {
  test("[MA1] [MA2] each budget from power-on ends at its position, as single steps do", () => {
    const stepped = boot(program);
    const whole = boot(program);
    const start = snapshot(whole);
    for (let until = 1; until <= program.length; until++) {
      expect(stepped.run(position(BigInt(until)), FOREVER)).toEqual({ kind: "budget" });
      expect(stepped.position).toBe(BigInt(until));
      restore(whole, start);
      expect(whole.run(position(BigInt(until)), FOREVER)).toEqual({ kind: "budget" });
      expect(whole.position).toBe(BigInt(until));
      if (whole.digest() !== stepped.digest()) {
        expect({ until, state: whole.save() }).toEqual({ until, state: stepped.save() });
        expect(fingerprint(whole)).toEqual(fingerprint(stepped));
      }
    }
    expect(fingerprint(whole)).toEqual(fingerprint(stepped));
    expect(outputText(whole.takeOutputs())).toBe(outputText(stepped.takeOutputs()));
  });

  test("[MA2] a run cut at random positions equals the uncut run", () => {
    const whole = boot(program);
    const end = program.length * 20;
    runTo(whole, end);
    const random = new Prng(SEED);
    const cut = boot(program);
    for (let at = 0; at < end; ) {
      at = Math.min(end, at + random.below(90));
      expect(runTo(cut, at)).toEqual({ kind: "budget" });
    }
    expect(fingerprint(cut)).toEqual(fingerprint(whole));
    expect(outputText(cut.takeOutputs())).toBe(outputText(whole.takeOutputs()));
  });
});
