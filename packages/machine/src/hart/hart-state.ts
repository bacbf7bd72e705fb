/** The hart's architectural state as named fields of a snapshot. */
import type { State } from "../device/device.ts";
import type { FieldReader } from "../snapshot/fields.ts";
import type { HartCore } from "./core.ts";
import { ARCHITECTURAL_FIELDS, FIELD } from "./layout.ts";

const REGISTERS = 32;

/** Takes the hart's state; virtual time is brought to the present position first. */
export function saveHart(core: HartCore): State {
  core.exports.rebase_time();
  const state: Record<string, bigint> = {};
  for (const name of ARCHITECTURAL_FIELDS) {
    state[name] = FIELD[name].width === 4 ? BigInt(core.get32(name)) : core.get64(name);
  }
  for (let i = 1; i < REGISTERS; i++) state[`x${i}`] = core.getX(i);
  for (let i = 0; i < REGISTERS; i++) state[`f${i}`] = core.getF(i);
  return state;
}

/**
 * Puts saved state back; E_SNAPSHOT_INVALID where a field is absent or out of range. Nothing is
 * changed unless all fields are good.
 */
export function restoreHart(core: HartCore, reader: FieldReader): void {
  const scalars = ARCHITECTURAL_FIELDS.map((name) => {
    const value = reader.u64(name);
    const limit = LIMITS[name] ?? (FIELD[name].width === 4 ? 0xffff_ffffn : undefined);
    if (limit !== undefined && value > limit) throw reader.invalid(name, `at most ${limit}`);
    return { name, value };
  });
  const mode = scalars.find(({ name }) => name === "mode");
  if (mode?.value === 2n) throw reader.invalid("mode", "0, 1 or 3");
  const x = Array.from({ length: REGISTERS - 1 }, (_, i) => reader.u64(`x${i + 1}`));
  const f = Array.from({ length: REGISTERS }, (_, i) => reader.u64(`f${i}`));
  reader.end();
  for (const { name, value } of scalars) {
    if (FIELD[name].width === 4) core.set32(name, Number(value));
    else core.set64(name, value);
  }
  for (const [i, value] of x.entries()) core.setX(i + 1, value);
  for (const [i, value] of f.entries()) core.setF(i, value);
  core.refresh();
}

/** Largest values of fields that index something or must stay small. */
const LIMITS: Partial<Record<(typeof ARCHITECTURAL_FIELDS)[number], bigint>> = {
  mode: 3n,
  waiting: 1n,
  reserved: 1n,
  frm: 7n,
  fflags: 31n,
  builtinSbi: 1n,
  timeFraction: 0xffff_ffffn,
};
