/**
 * Seeds of programs that once showed a difference, each with what it was. They run every time.
 * A seed means another program when the generator's choices change; the list is a habit, not a
 * proof: what a seed found belongs in a unit test, too.
 */
export const KNOWN_SEEDS: readonly { readonly seed: number; readonly found: string }[] = [];
