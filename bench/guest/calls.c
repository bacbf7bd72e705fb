/* Calls: direct recursion, function pointers, deep and shallow. */
#include "guest.h"

static NOINLINE uint64_t fibonacci(uint64_t n) {
  return n < 2 ? n : fibonacci(n - 1) + fibonacci(n - 2);
}

static NOINLINE uint64_t ackermann(uint64_t m, uint64_t n) {
  if (m == 0) return n + 1;
  return n == 0 ? ackermann(m - 1, 1) : ackermann(m - 1, ackermann(m, n - 1));
}

typedef uint64_t (*operation)(uint64_t, uint64_t);
static NOINLINE uint64_t add(uint64_t x, uint64_t y) { return x + y; }
static NOINLINE uint64_t subtract(uint64_t x, uint64_t y) { return x - y; }
static NOINLINE uint64_t mix(uint64_t x, uint64_t y) { return (x ^ y) * 0x9e3779b97f4a7c15ull; }
static NOINLINE uint64_t turn(uint64_t x, uint64_t y) { return (x << (y & 63)) | (x >> (-y & 63)); }
static operation volatile operations[4] = {add, subtract, mix, turn};

static NOINLINE uint64_t apply(operation f, uint64_t x, uint64_t y) { return f(x, y) + 1; }

uint64_t benchmark(void) {
  uint64_t sum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    sum += fibonacci(24) + ackermann(2, 60);
    for (uint64_t i = 0; i < 20000; i++) sum = apply(operations[(i ^ sum) & 3], sum, i);
  }
  return sum;
}
