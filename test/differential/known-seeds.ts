/**
 * Seeds of programs that once showed a difference, each with what it was. They run every time.
 * A seed means another program when the generator's choices change; the list is a habit, not a
 * proof: what a seed found belongs in a unit test, too.
 */
export const KNOWN_SEEDS: readonly { readonly seed: number; readonly found: string }[] = [
  { seed: 5006, found: "no A bit after an access that ends where there is no memory" },
  { seed: 5041, found: "mtval of an access fault in the second of two pages" },
  { seed: 5126, found: "access fault in the first page before page fault in the second" },
];
