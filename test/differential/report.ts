/** A failing program for people: what differs, and the listing of its units. */
import type { Line } from "./assembler.ts";
import type { Failure } from "./campaign.ts";
import { REGION_BASE } from "./layout.ts";
import type { Program } from "./program.ts";

/** A program that could not be made smaller is cut off here. */
const LISTED_LINES = 250;

function listingLine({ image }: Program, { address, sizeBytes, text }: Line): string {
  if (sizeBytes === 0) return `  -- ${text}`;
  const view = new DataView(image.buffer, image.byteOffset);
  const offset = address - REGION_BASE;
  const word = sizeBytes === 2 ? view.getUint16(offset, true) : view.getUint32(offset, true);
  const digits = word.toString(16).padStart(2 * sizeBytes, "0");
  return `  ${address.toString(16)}  ${digits.padEnd(8)}  ${text}`;
}

export function describeFailure({ seed, program, difference }: Failure): string {
  const { plan, lines } = program;
  // A body's heading without a body says nothing.
  const shown = lines.filter(
    ({ sizeBytes }, index) => sizeBytes > 0 || (lines[index + 1]?.sizeBytes ?? 0) > 0,
  );
  return [
    `seed ${seed}: ${difference.summary}`,
    ...difference.details.map((line) => `  ${line}`),
    `  ${plan.units.length} units, ${plan.passes} passes`,
    ...shown.slice(0, LISTED_LINES).map((line) => listingLine(program, line)),
    ...(shown.length > LISTED_LINES ? [`  ... ${shown.length - LISTED_LINES} more lines`] : []),
  ].join("\n");
}
