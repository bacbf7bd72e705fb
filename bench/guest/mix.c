/* A mix in the manner of CoreMark: linked list, matrix, state machine, checksum. */
#include "guest.h"

struct item {
  struct item *next;
  int16_t key, value;
};
static PAGE_ALIGNED struct item items[256];
static PAGE_ALIGNED int16_t left[24][24], right[24][24];
static PAGE_ALIGNED int32_t product[24][24];
static PAGE_ALIGNED char text[1024];

static uint16_t checksum(uint16_t crc, uint16_t data) {
  for (int i = 0; i < 16; i++) {
    uint16_t bit = (uint16_t)((crc ^ data) & 1);
    crc = (uint16_t)((crc >> 1) ^ (bit ? 0xa001 : 0));
    data >>= 1;
  }
  return crc;
}

static struct item *reverse(struct item *list) {
  struct item *done = NULL;
  while (list) {
    struct item *next = list->next;
    list->next = done;
    done = list;
    list = next;
  }
  return done;
}

static struct item *merge_sort(struct item *list, int by_value) {
  if (!list || !list->next) return list;
  struct item *slow = list, *fast = list->next;
  while (fast && fast->next) {
    slow = slow->next;
    fast = fast->next->next;
  }
  struct item *second = slow->next;
  slow->next = NULL;
  struct item *a = merge_sort(list, by_value), *b = merge_sort(second, by_value);
  struct item head, *tail = &head;
  while (a && b) {
    int first = by_value ? a->value <= b->value : a->key <= b->key;
    if (first) {
      tail->next = a;
      a = a->next;
    } else {
      tail->next = b;
      b = b->next;
    }
    tail = tail->next;
  }
  tail->next = a ? a : b;
  return head.next;
}

static NOINLINE uint16_t lists(uint16_t crc, int16_t wanted) {
  struct item *list = items;
  for (int i = 0; i < 256; i++) items[i].next = i < 255 ? items + i + 1 : NULL;
  list = merge_sort(list, 1);
  for (struct item *i = list; i; i = i->next) {
    if (i->value == wanted) crc = checksum(crc, (uint16_t)i->key);
  }
  list = merge_sort(reverse(list), 0);
  return checksum(crc, (uint16_t)list->value);
}

static NOINLINE uint16_t matrices(uint16_t crc, int16_t change) {
  for (int i = 0; i < 24; i++) {
    for (int j = 0; j < 24; j++) {
      int32_t sum = 0;
      for (int k = 0; k < 24; k++) sum += left[i][k] * right[k][j];
      product[i][j] = sum;
    }
  }
  for (int i = 0; i < 24; i++) {
    crc = checksum(crc, (uint16_t)(product[i][23 - i] >> 3));
    left[i][i] = (int16_t)(left[i][i] + change);
  }
  return crc;
}

enum state { START, SIGN, DIGITS, POINT, EXPONENT, WRONG, STATES };

static NOINLINE uint16_t states(uint16_t crc) {
  uint32_t counts[STATES] = {0};
  enum state state = START;
  for (const char *at = text; *at; at++) {
    int digit = *at >= '0' && *at <= '9';
    if (*at == ',') {
      counts[state]++;
      state = START;
      continue;
    }
    switch (state) {
      case START: state = digit ? DIGITS : *at == '+' || *at == '-' ? SIGN : *at == '.' ? POINT : WRONG; break;
      case SIGN: state = digit ? DIGITS : *at == '.' ? POINT : WRONG; break;
      case DIGITS: state = digit ? DIGITS : *at == '.' ? POINT : WRONG; break;
      case POINT: state = digit ? POINT : *at == 'e' ? EXPONENT : WRONG; break;
      case EXPONENT: state = digit ? EXPONENT : WRONG; break;
      default: break;
    }
  }
  for (int i = 0; i < STATES; i++) crc = checksum(crc, (uint16_t)counts[i]);
  return crc;
}

uint64_t benchmark(void) {
  static const char alphabet[] = "0123456789+-.e,,";
  uint64_t seed = 7;
  for (int i = 0; i < 256; i++) {
    items[i].key = (int16_t)next_random(&seed);
    items[i].value = (int16_t)(next_random(&seed) & 63);
  }
  for (int i = 0; i < 24; i++) {
    for (int j = 0; j < 24; j++) {
      left[i][j] = (int16_t)(next_random(&seed) & 255);
      right[i][j] = (int16_t)(next_random(&seed) & 255);
    }
  }
  for (int i = 0; i < 1023; i++) text[i] = alphabet[next_random(&seed) & 15];
  uint16_t crc = 0xffff;
  for (int round = 0; round < ROUNDS; round++) {
    crc = lists(crc, (int16_t)(round & 63));
    crc = matrices(crc, (int16_t)(round & 3));
    crc = states(crc);
    text[round % 1000] = alphabet[crc & 15];
  }
  return crc;
}
