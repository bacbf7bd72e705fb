/* Copying, scaling, adding and a sieve over arrays of 2 MiB. */
#include "guest.h"

#define WORDS (1 << 18)
static PAGE_ALIGNED uint64_t a[WORDS], b[WORDS], c[WORDS];
static PAGE_ALIGNED uint8_t composite[1 << 21];

static NOINLINE void copy(uint64_t *to, const uint64_t *from) {
  for (long i = 0; i < WORDS; i += 4) {
    to[i] = from[i];
    to[i + 1] = from[i + 1];
    to[i + 2] = from[i + 2];
    to[i + 3] = from[i + 3];
  }
}

static NOINLINE void triad(uint64_t *to, const uint64_t *x, const uint64_t *y, uint64_t factor) {
  for (long i = 0; i < WORDS; i++) to[i] = x[i] + factor * y[i];
}

static NOINLINE uint64_t sieve(void) {
  const long size = sizeof composite;
  for (long i = 0; i < size; i += 8) *(uint64_t *)(composite + i) = 0;
  uint64_t count = 0;
  for (long i = 2; i < size; i++) {
    if (composite[i]) continue;
    count++;
    for (long j = 2 * i; j < size; j += i) composite[j] = 1;
  }
  return count;
}

uint64_t benchmark(void) {
  uint64_t seed = 4, sum = 0;
  for (long i = 0; i < WORDS; i++) a[i] = next_random(&seed);
  for (int round = 0; round < ROUNDS; round++) {
    copy(b, a);
    triad(c, a, b, (uint64_t)round);
    triad(a, c, b, 3);
    if ((round & 7) == 0) sum += sieve();
    for (long i = 0; i < WORDS; i++) sum += c[i];
  }
  return sum;
}
