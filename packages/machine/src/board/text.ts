/** UTF-8 without a host's `TextEncoder`: this package depends on the language alone. */

/** The UTF-8 encoding of `value`; a lone surrogate becomes U+FFFD. */
export function utf8(value: string): Uint8Array {
  const bytes: number[] = [];
  for (const character of value.toWellFormed()) {
    const code = character.codePointAt(0) ?? 0;
    if (code < 0x80) bytes.push(code);
    else if (code < 0x800) bytes.push(0xc0 | (code >> 6), tail(code));
    else if (code < 0x1_0000) bytes.push(0xe0 | (code >> 12), tail(code >> 6), tail(code));
    else bytes.push(0xf0 | (code >> 18), tail(code >> 12), tail(code >> 6), tail(code));
  }
  return Uint8Array.from(bytes);
}

function tail(code: number): number {
  return 0x80 | (code & 0x3f);
}
