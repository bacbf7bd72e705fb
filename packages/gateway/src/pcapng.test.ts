import { expect, test } from "vitest";
import { capturedFrame, captureHeader } from "./pcapng.ts";

test("golden bytes: one section, one Ethernet interface, one frame", () => {
  const header = Buffer.from(captureHeader()).toString("hex");
  expect(header).toBe(
    [
      "0a0d0d0a1c0000004d3c2b1a01000000ffffffffffffffff1c000000",
      "010000002400000001000000000000000200050067756573740000000000000024000000",
    ].join(""),
  );
  const frame = Buffer.from(
    capturedFrame(Uint8Array.of(1, 2, 3, 4, 5), "fromGuest", 0x1_0000_0002n),
  );
  expect(frame.toString("hex")).toBe(
    "060000003400000000000000" + // type, length, interface
      "0100000002000000" + // time
      "0500000005000000" + // captured and original length
      "0102030405000000" +
      "0200040002000000" + // flags: outbound
      "0000000034000000",
  );
});
