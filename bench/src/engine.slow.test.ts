/** The benchmark's report has the fields that others read. */
import { hostTool } from "@dejavm/debian";
import { expect, test } from "vitest";
import { runEngineBench } from "./engine.ts";

test("[BE1] the report of one program", async (context) => {
  for (const name of ["qemu-system-riscv64", "riscv64-linux-gnu-gcc"] as const) {
    const tool = await hostTool(name);
    if (tool.kind === "skipped") return context.skip(tool.reason);
  }
  const speed = expect.any(Number) as number;
  const report = await runEngineBench({ rounds: 1, programs: ["chase"] }, () => {});
  expect(report).toMatchObject({
    programs: [
      {
        name: "chase",
        mips: speed,
        qemuMips: speed,
        qemuIcountMips: speed,
        ratio: speed,
        ratioIcount: speed,
      },
    ],
    geomeanRatio: speed,
    geomeanRatioIcount: speed,
    bootSeconds: null,
    qemuBootSeconds: null,
  });
});
