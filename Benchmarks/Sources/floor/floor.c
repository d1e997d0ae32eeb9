// What the kernel costs: the least that a tool can do, in C. And the maker of large queues.
//
//   floor names THREADS DIRECTORY...  counts the files in directories and one level below (getdents64)
//   floor read QUEUE THREADS          opens and reads info and remote of every message
//   floor make QMAIL COUNT SENDERS    lays out QMAIL/queue as qmail does and puts messages there, under the numbers of their inodes
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { SPLIT = 23 };

struct entry {
  unsigned long long inode;
  long long offset;
  unsigned short length;
  unsigned char type;
  char name[];
};

static void fail(const char *what) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(1);
}

/// Calls `body` with each name of an open directory but the dots.
static void list(int directory, void (*body)(void *, struct entry *), void *context) {
  char buffer[120 * 1024];
  long filled;
  while ((filled = syscall(SYS_getdents64, directory, buffer, sizeof buffer)) > 0)
    for (long at = 0; at < filled;) {
      struct entry *entry = (struct entry *)(buffer + at);
      at += entry->length;
      if (entry->name[0] != '.') body(context, entry);
    }
}

struct count {
  int directory;
  long files;
};

static void count_file(void *context, struct entry *entry) {
  ((struct count *)context)->files += entry->type == DT_REG;
}

static int next_part;
static long total;

/// Runs `body` in so many threads, until all of them have returned.
static void run(int threads, void *(*body)(void *)) {
  pthread_t other[16];
  if (threads > 16) threads = 16;
  for (int i = 1; i < threads; i++)
    if (pthread_create(&other[i], 0, body, 0)) fail("thread");
  body(0);
  for (int i = 1; i < threads; i++) pthread_join(other[i], 0);
  printf("%ld\n", total);
}

enum { MOST_PARTS = 4096 };
static struct part {
  int directory;
  char name[32];
} parts[MOST_PARTS];
static int part_count;

static void count_any(void *context, struct entry *entry) {
  struct count *count = context;
  if (entry->type == DT_REG) count->files++;
  if (entry->type != DT_DIR || part_count == MOST_PARTS) return;
  struct part *part = &parts[part_count++];
  part->directory = count->directory;
  snprintf(part->name, sizeof part->name, "%s", entry->name);
}

static void *count_parts(void *unused) {
  (void)unused;
  struct count count = {-1, 0};
  int part;
  while ((part = __atomic_fetch_add(&next_part, 1, __ATOMIC_RELAXED)) < part_count) {
    int inner = openat(parts[part].directory, parts[part].name, O_RDONLY | O_DIRECTORY);
    if (inner < 0) continue;
    list(inner, count_file, &count);
    close(inner);
  }
  __atomic_fetch_add(&total, count.files, __ATOMIC_RELAXED);
  return 0;
}

static int names(int threads, int directories, char **paths) {
  for (int i = 0; i < directories; i++) {
    struct count count = {open(paths[i], O_RDONLY | O_DIRECTORY), 0};
    if (count.directory < 0) fail(paths[i]);
    list(count.directory, count_any, &count);
    total += count.files;
  }
  run(threads, count_parts);
  return 0;
}

static const char *queue;

struct reading {
  int info, remote;
  long bytes;
};

static void read_message(void *context, struct entry *entry) {
  struct reading *reading = context;
  char buffer[4096];
  for (int i = 0; i < 2; i++) {
    int file = openat(i ? reading->remote : reading->info, entry->name, O_RDONLY);
    if (file < 0) continue;
    long n = read(file, buffer, sizeof buffer);
    if (n > 0) reading->bytes += n;
    close(file);
  }
}

static void *read_parts(void *unused) {
  (void)unused;
  int part;
  while ((part = __atomic_fetch_add(&next_part, 1, __ATOMIC_RELAXED)) < SPLIT) {
    char path[4096];
    struct reading reading = {-1, -1, 0};
    snprintf(path, sizeof path, "%s/info/%d", queue, part);
    reading.info = open(path, O_RDONLY | O_DIRECTORY);
    snprintf(path, sizeof path, "%s/remote/%d", queue, part);
    reading.remote = open(path, O_RDONLY | O_DIRECTORY);
    if (reading.info < 0 || reading.remote < 0) fail(path);
    list(reading.info, read_message, &reading);
    close(reading.info);
    close(reading.remote);
    __atomic_fetch_add(&total, reading.bytes, __ATOMIC_RELAXED);
  }
  return 0;
}

static int top;

static void folder(const char *name) {
  if (mkdirat(top, name, 0755) && errno != EEXIST) fail(name);
}

static void put(const char *name, const char *bytes, size_t length) {
  int file = openat(top, name, O_WRONLY | O_CREAT | O_EXCL, 0644);
  if (file < 0 || write(file, bytes, length) != (ssize_t)length) fail(name);
  close(file);
}

/// Messages to remote recipients, from `senders` senders over 40 clients, born evenly over the last day; every tenth has a second recipient that is done.
static int make(const char *qmail, long count, long senders) {
  static const char *const flat[] = {"todo", "intd", "bounce", "pid", "lock"};
  static const char *const split[] = {"mess", "info", "local", "remote"};
  char path[256], text[4096];
  if (chdir(qmail)) fail(qmail);
  if (mkdir("queue", 0755) && errno != EEXIST) fail("queue");
  if ((top = open("queue", O_RDONLY | O_DIRECTORY)) < 0) fail("queue");
  for (int i = 0; i < 5; i++) folder(flat[i]);
  for (int i = 0; i < 4; i++) {
    folder(split[i]);
    for (int part = 0; part < SPLIT; part++) {
      snprintf(path, sizeof path, "%s/%d", split[i], part);
      folder(path);
    }
  }
  close(openat(top, "lock/sendmutex", O_WRONLY | O_CREAT, 0644));
  long now = time(0);
  for (long i = 0; i < count; i++) {
    long sender = i % senders;
    int length = snprintf(
        text, sizeof text,
        "Received: (qmail %ld invoked from network); 24 Nov 2026 12:00:00 -0000\n"
        "Received: from host%ld.example (HELO pc) (user%ld@198.51.100.%ld)\n"
        "  by mx.test with SMTP; 24 Nov 2026 12:00:00 -0000\n"
        "From: user%ld@mx.test\nTo: someone%ld@d%ld.example\nSubject: message %ld\n"
        "Date: Tue, 24 Nov 2026 12:00:00 +0000\n\n%01700d\n",
        1000 + i % 30000, sender % 40, sender % 40, sender % 40, sender, i, i % 500, i, 0);
    put("pid/new", text, length);
    struct stat status;
    if (fstatat(top, "pid/new", &status, 0)) fail("pid/new");
    unsigned long long id = status.st_ino;
    snprintf(path, sizeof path, "mess/%llu/%llu", id % SPLIT, id);
    if (renameat(top, "pid/new", top, path)) fail(path);
    snprintf(path, sizeof path, "remote/%llu/%llu", id % SPLIT, id);
    length = snprintf(text, sizeof text, "Tsomeone%ld@d%ld.example%c", i, i % 500, 0);
    if (i % 10 == 0) length += snprintf(text + length, 100, "Dother%ld@e%ld.example%c", i, i % 500, 0);
    put(path, text, length);
    snprintf(path, sizeof path, "info/%llu/%llu", id % SPLIT, id);
    length = snprintf(text, sizeof text, "Fuser%ld@mx.test%c", sender, 0);
    put(path, text, length);
    struct timespec times[2] = {{now, 0}, {now - 86400 + (long)(86400.0 * i / count), 0}};
    if (utimensat(top, path, times, 0)) fail(path);
  }
  return 0;
}

int main(int argc, char **argv) {
  if (argc >= 4 && !strcmp(argv[1], "names")) return names(atoi(argv[2]), argc - 3, argv + 3);
  if (argc == 4 && !strcmp(argv[1], "read")) {
    queue = argv[2];
    run(atoi(argv[3]), read_parts);
    return 0;
  }
  if (argc == 5 && !strcmp(argv[1], "make")) return make(argv[2], atol(argv[3]), atol(argv[4]));
  fprintf(stderr, "usage: floor names THREADS DIRECTORY... | read QUEUE THREADS | make QMAIL COUNT SENDERS\n");
  return 64;
}
