import { describe, expect, test } from "vitest";
import { fuzzRegisters } from "../../board/test-support/register-fuzz.ts";
import { type PowerRequest, Syscon } from "./device.ts";

function make(): { readonly syscon: Syscon; readonly requests: PowerRequest[] } {
  const requests: PowerRequest[] = [];
  return { syscon: new Syscon({ power: (request) => requests.push(request) }), requests };
}

describe("syscon", () => {
  test.each([
    [0x5555, { kind: "power-off", status: 0 }],
    [0x0007_3333, { kind: "power-off", status: 7 }],
    [0x3333, { kind: "power-off", status: 1 }],
    [0xffff_3333, { kind: "power-off", status: 0xffff }],
    [0x7777, { kind: "reset" }],
  ] as const)("%i asks for what it means", (value, expected) => {
    const { syscon, requests } = make();
    syscon.write(0, 4, value);
    expect(requests).toEqual([expected]);
  });

  test("other values, offsets and single bytes ask for nothing", () => {
    const { syscon, requests } = make();
    syscon.write(0, 4, 0x1234);
    syscon.write(4, 4, 0x5555);
    syscon.write(0, 1, 0x55);
    expect(requests).toEqual([]);
  });

  test("random traffic never throws", () => {
    fuzzRegisters({
      seed: 0x5c,
      operations: 20_000,
      regionBytes: 0x1000,
      offsets: [0, 4],
      make: () => {
        const { syscon, requests } = make();
        return {
          device: syscon,
          observe: () => requests.splice(0),
          disturb: () => syscon.write(0, 4, 0x7777),
        };
      },
    });
  });
});
