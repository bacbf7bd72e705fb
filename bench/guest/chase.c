/* One pointer after another through 8 MiB in random order (a single cycle, by Sattolo). */
#include "guest.h"

#define COUNT (1 << 17)
struct node {
  struct node *next;
  uint64_t value[7];
};
static PAGE_ALIGNED struct node nodes[COUNT];
static PAGE_ALIGNED uint32_t order[COUNT];

uint64_t benchmark(void) {
  uint64_t seed = 3;
  for (uint32_t i = 0; i < COUNT; i++) order[i] = i;
  for (uint32_t i = COUNT - 1; i > 0; i--) {
    uint32_t j = (uint32_t)(next_random(&seed) % i);
    uint32_t t = order[i];
    order[i] = order[j];
    order[j] = t;
  }
  for (uint32_t i = 0; i < COUNT; i++) {
    nodes[order[i]].next = &nodes[order[(i + 1) % COUNT]];
    nodes[order[i]].value[0] = i;
  }
  uint64_t sum = 0;
  struct node *at = nodes;
  for (long step = 0; step < (long)ROUNDS * COUNT; step++) {
    sum += at->value[0] ^ (uint64_t)step;
    at = at->next;
  }
  return sum;
}
