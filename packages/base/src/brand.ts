/** Nominal types: a `Brand<number, "X">` is a number that only a place that made an X hands out. */
declare const brand: unique symbol;

/** `Base` with a name that keeps it apart from other `Base`s at compile time. */
export type Brand<Base, Name extends string> = Base & { readonly [brand]: Name };
