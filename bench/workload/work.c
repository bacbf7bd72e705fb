/*
 * What runs in a guest whose migration is measured. A static program for Linux on riscv64.
 *
 *   work tick ADDRESS PORT [PID]   each 10 ms a UDP datagram "SEQUENCE GUEST_NS PROGRESS"
 *   work dirty MEGABYTES           rewrites that much memory with fresh random data, at full speed
 *
 * PROGRESS counts pages written by `dirty` (shared through /dev/shm), or, with PID, the bytes that
 * this process has read, as /proc tells.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, TICK_NS = 10000000, SECOND_NS = 1000000000, READ_EVERY = 10 };

static void fail(const char *what) {
  fprintf(stderr, "work: %s: %s\n", what, strerror(errno));
  exit(1);
}

static volatile uint64_t *shared_progress(void) {
  int file = open("/dev/shm/progress", O_RDWR | O_CREAT, 0600);
  if (file < 0 || ftruncate(file, PAGE) != 0) fail("/dev/shm/progress");
  void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (page == MAP_FAILED) fail("mmap");
  return page;
}

/* Bytes that a process has read; `before` where that cannot be told. */
static uint64_t bytes_read(int io, uint64_t before) {
  char text[512];
  ssize_t length = pread(io, text, sizeof text - 1, 0);
  if (length <= 0) return before;
  text[length] = 0;
  unsigned long value;
  return sscanf(text, "rchar: %lu", &value) == 1 ? value : before;
}

static int tick(const char *address, const char *port, const char *pid) {
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(port))};
  if (inet_aton(address, &to.sin_addr) == 0) fail(address);
  int out = socket(AF_INET, SOCK_DGRAM, 0);
  volatile uint64_t *progress = shared_progress();
  int io = -1;
  if (pid != NULL) {
    char path[64];
    snprintf(path, sizeof path, "/proc/%s/io", pid);
    io = open(path, O_RDONLY);
    if (io < 0) fail(path);
  }
  struct timespec next;
  clock_gettime(CLOCK_MONOTONIC, &next);
  uint64_t done = 0;
  for (uint64_t sequence = 0;; sequence++) {
    if (io < 0) done = *progress;
    else if (sequence % READ_EVERY == 0) done = bytes_read(io, done);
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    unsigned long ns = now.tv_sec * (unsigned long)SECOND_NS + now.tv_nsec;
    char text[96];
    int length = snprintf(text, sizeof text, "%lu %lu %lu", (unsigned long)sequence, ns,
                          (unsigned long)done);
    sendto(out, text, length, 0, (struct sockaddr *)&to, sizeof to);
    next.tv_nsec += TICK_NS;
    if (next.tv_nsec >= SECOND_NS) {
      next.tv_nsec -= SECOND_NS;
      next.tv_sec++;
    }
    /* After a long pause the missed ticks are not made up for. */
    if (now.tv_sec - next.tv_sec > 0) next = now;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, NULL);
  }
}

static uint64_t random_word(void) {
  static uint64_t state = 0x2545f4914f6cdd1dull;
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

static int dirty(const char *megabytes) {
  volatile uint64_t *progress = shared_progress();
  size_t pages = strtoul(megabytes, NULL, 10) * 256;
  uint64_t *memory = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) fail("mmap");
  for (;;) {
    for (size_t page = 0; page < pages; page++) {
      uint64_t *words = memory + page * (PAGE / sizeof(uint64_t));
      for (size_t i = 0; i < PAGE / sizeof(uint64_t); i++) words[i] = random_word();
      ++*progress;
    }
  }
}

int main(int count, char **words) {
  const char *what = count > 1 ? words[1] : "";
  if (count >= 4 && strcmp(what, "tick") == 0) return tick(words[2], words[3], words[4]);
  if (count == 3 && strcmp(what, "dirty") == 0) return dirty(words[2]);
  fprintf(stderr, "usage: work tick ADDRESS PORT [PID] | work dirty MEGABYTES\n");
  return 2;
}
