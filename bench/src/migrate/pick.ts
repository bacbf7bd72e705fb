/** Choosing from a list by name, as options of a benchmark do. */
import { CodedError } from "@dejavm/base";

/** Those of `all` that are named, in the order of `all`; no names: all. Throws E_USAGE. */
export function pick<T extends { readonly name: string }>(
  what: string,
  all: readonly T[],
  names: readonly string[],
): readonly T[] {
  for (const name of names) {
    if (all.some((item) => item.name === name)) continue;
    throw new CodedError("E_USAGE", `there is no ${what} ${name}`, {
      hint: `want ${all.map((item) => item.name).join(", ")}`,
    });
  }
  return names.length === 0 ? all : all.filter(({ name }) => names.includes(name));
}
