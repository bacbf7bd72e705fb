#include "guest.h"

static void put(char c) {
  *(volatile uint8_t *)0x10000000 = (uint8_t)c;
}

void finish(uint64_t checksum) {
  for (int shift = 60; shift >= 0; shift -= 4) put("0123456789abcdef"[(checksum >> shift) & 15]);
  put('\n');
  *(volatile uint32_t *)0x100000 = 0x5555;
  for (;;) {
  }
}

/* The compiler may call these. */
void *memset(void *to, int value, size_t count) {
  uint8_t *p = to;
  for (size_t i = 0; i < count; i++) {
    p[i] = (uint8_t)value;
    __asm__ volatile("" ::: "memory");
  }
  return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t count) {
  uint8_t *p = to;
  const uint8_t *q = from;
  for (size_t i = 0; i < count; i++) {
    p[i] = q[i];
    __asm__ volatile("" ::: "memory");
  }
  return to;
}
