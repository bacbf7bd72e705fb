/* What the benchmark programs share. Freestanding: no library. */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* Does the work; returns a checksum of it. */
uint64_t benchmark(void);

/* Prints the checksum and switches the machine off. */
void finish(uint64_t checksum) __attribute__((noreturn));

/* A reproducible stream of numbers (xorshift64*, Vigna 2016). */
static inline uint64_t next_random(uint64_t *state) {
  uint64_t x = *state;
  x ^= x >> 12;
  x ^= x << 25;
  x ^= x >> 27;
  *state = x;
  return x * 0x2545f4914f6cdd1dull;
}

/* Data that is written must not share a page with code. */
#define PAGE_ALIGNED __attribute__((aligned(4096)))
#define NOINLINE __attribute__((noinline))

/* How much work; chosen per program so that QEMU takes about a second. */
#ifndef ROUNDS
#error "the build defines ROUNDS"
#endif
