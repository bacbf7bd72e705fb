/* Quicksort and heapsort of 64-bit numbers. */
#include "guest.h"

#define COUNT 32768
static PAGE_ALIGNED uint64_t numbers[COUNT];

static NOINLINE void quick_sort(uint64_t *a, long low, long high) {
  while (low < high) {
    uint64_t pivot = a[(low + high) >> 1];
    long i = low - 1, j = high + 1;
    for (;;) {
      do i++;
      while (a[i] < pivot);
      do j--;
      while (a[j] > pivot);
      if (i >= j) break;
      uint64_t t = a[i];
      a[i] = a[j];
      a[j] = t;
    }
    quick_sort(a, low, j);
    low = j + 1;
  }
}

static void sift(uint64_t *a, long root, long end) {
  for (long child; (child = 2 * root + 1) < end; root = child) {
    if (child + 1 < end && a[child] < a[child + 1]) child++;
    if (a[root] >= a[child]) return;
    uint64_t t = a[root];
    a[root] = a[child];
    a[child] = t;
  }
}

static NOINLINE void heap_sort(uint64_t *a, long count) {
  for (long i = count / 2 - 1; i >= 0; i--) sift(a, i, count);
  for (long end = count - 1; end > 0; end--) {
    uint64_t t = a[0];
    a[0] = a[end];
    a[end] = t;
    sift(a, 0, end);
  }
}

uint64_t benchmark(void) {
  uint64_t seed = 2, sum = 0;
  for (int round = 0; round < ROUNDS; round++) {
    for (int i = 0; i < COUNT; i++) numbers[i] = next_random(&seed);
    if (round & 1) heap_sort(numbers, COUNT);
    else quick_sort(numbers, 0, COUNT - 1);
    for (int i = 0; i < COUNT; i += 97) sum = sum * 31 + numbers[i];
  }
  return sum;
}
