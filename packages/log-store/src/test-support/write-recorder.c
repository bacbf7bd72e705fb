/*
 * Preloaded into a process, it records each write, truncation and sync of files below
 * DEJAVM_RECORD_BELOW into the file DEJAVM_RECORD_TO, in order:
 *
 *   u32 kind (1 write, 2 truncate, 3 sync, 4 create, 5 unlink), u32 path bytes, u64 offset,
 *   u64 data bytes, path, data
 *
 * A sync of a directory is a sync with the directory's path.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE, SYNC, CREATE, UNLINK };

#define MAX_FDS 4096
static char *paths[MAX_FDS];
static off_t offsets[MAX_FDS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int log_fd = -1;
static const char *below;

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static int wanted(const char *path) {
  if (below == NULL) {
    below = getenv("DEJAVM_RECORD_BELOW");
    if (below == NULL) below = "";
    const char *to = getenv("DEJAVM_RECORD_TO");
    if (to != NULL) log_fd = REAL(open)(to, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  }
  return log_fd >= 0 && path[0] == '/' && strncmp(path, below, strlen(below)) == 0 &&
         strstr(path, "-shm") == NULL;
}

static void record(uint32_t kind, const char *path, uint64_t offset, const void *data,
                   uint64_t size) {
  uint32_t head[2] = {kind, (uint32_t)strlen(path)};
  uint64_t sizes[2] = {offset, size};
  struct iovec parts[4] = {{head, sizeof head},
                           {sizes, sizeof sizes},
                           {(void *)path, head[1]},
                           {(void *)data, data == NULL ? 0 : size}};
  if (REAL(writev)(log_fd, parts, 4) < 0) abort();
}

static int opened(int fd, const char *path, int existed, int flags) {
  if (fd < 0 || fd >= MAX_FDS) return fd;
  pthread_mutex_lock(&lock);
  free(paths[fd]);
  paths[fd] = wanted(path) ? strdup(path) : NULL;
  offsets[fd] = 0;
  if (paths[fd] != NULL && (flags & O_CREAT) != 0 && !existed) record(CREATE, path, 0, NULL, 0);
  if (paths[fd] != NULL && (flags & O_APPEND) != 0) offsets[fd] = lseek(fd, 0, SEEK_END);
  pthread_mutex_unlock(&lock);
  return fd;
}

#define OPENS(name)                                          \
  int name(const char *path, int flags, ...) {               \
    va_list rest;                                            \
    va_start(rest, flags);                                   \
    mode_t mode = (flags & O_CREAT) ? va_arg(rest, int) : 0; \
    va_end(rest);                                            \
    int existed = access(path, F_OK) == 0;                   \
    return opened(REAL(name)(path, flags, mode), path, existed, flags); \
  }
OPENS(open)
OPENS(open64)

int close(int fd) {
  if (fd >= 0 && fd < MAX_FDS) {
    pthread_mutex_lock(&lock);
    free(paths[fd]);
    paths[fd] = NULL;
    pthread_mutex_unlock(&lock);
  }
  return REAL(close)(fd);
}

static const char *path_of(int fd) { return fd >= 0 && fd < MAX_FDS ? paths[fd] : NULL; }

#define PWRITES(name, off)                                                   \
  ssize_t name(int fd, const void *data, size_t size, off offset) {          \
    pthread_mutex_lock(&lock);                                               \
    ssize_t done = REAL(name)(fd, data, size, offset);                       \
    if (done > 0 && path_of(fd)) record(WRITE, path_of(fd), offset, data, done); \
    pthread_mutex_unlock(&lock);                                             \
    return done;                                                             \
  }
PWRITES(pwrite, off_t)
PWRITES(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t size) {
  pthread_mutex_lock(&lock);
  ssize_t done = REAL(write)(fd, data, size);
  if (done > 0 && path_of(fd)) {
    record(WRITE, path_of(fd), offsets[fd], data, done);
    offsets[fd] += done;
  }
  pthread_mutex_unlock(&lock);
  return done;
}

#define TRUNCATES(name, off)                                            \
  int name(int fd, off size) {                                          \
    pthread_mutex_lock(&lock);                                          \
    int result = REAL(name)(fd, size);                                  \
    if (result == 0 && path_of(fd)) record(TRUNCATE, path_of(fd), size, NULL, 0); \
    pthread_mutex_unlock(&lock);                                        \
    return result;                                                      \
  }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)

#define SYNCS(name)                                                 \
  int name(int fd) {                                                \
    pthread_mutex_lock(&lock);                                      \
    int result = REAL(name)(fd);                                    \
    if (result == 0 && path_of(fd)) record(SYNC, path_of(fd), 0, NULL, 0); \
    pthread_mutex_unlock(&lock);                                    \
    return result;                                                  \
  }
SYNCS(fsync)
SYNCS(fdatasync)

int unlink(const char *path) {
  pthread_mutex_lock(&lock);
  int result = REAL(unlink)(path);
  if (result == 0 && wanted(path)) record(UNLINK, path, 0, NULL, 0);
  pthread_mutex_unlock(&lock);
  return result;
}
