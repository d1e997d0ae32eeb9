#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t clinux_getdents64(int fd, void *buffer, size_t size) {
  return syscall(SYS_getdents64, fd, buffer, size);
}

int clinux_syncfs(int fd) { return syncfs(fd); }

int clinux_eventfd(void) { return eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK); }

int clinux_unshare_descriptors(void) {
#if __has_feature(thread_sanitizer)
  // The sanitizer talks to its symbolizer from whichever thread meets something, over descriptors that all of them must have.
  errno = ENOSYS;
  return -1;
#else
  return unshare(CLONE_FILES);
#endif
}

void clinux_few_arenas(void) { mallopt(M_ARENA_MAX, 2); }

void clinux_trim(void) { malloc_trim(0); }

int clinux_spawn_close_from(posix_spawn_file_actions_t *actions, int first) {
  return posix_spawn_file_actions_addclosefrom_np(actions, first);
}

const int clinux_no_access_time = O_NOATIME;

int clinux_close_range(int first, int last) {
  return first > last ? 0 : close_range((unsigned)first, (unsigned)last, 0);
}

int clinux_exchange(int directory, const char *one, const char *other) {
  return renameat2(directory, one, directory, other, RENAME_EXCHANGE);
}

int clinux_rename_new(int directory, const char *old, const char *new) {
  return renameat2(directory, old, directory, new, RENAME_NOREPLACE);
}

int clinux_read_lease(int fd) {
  // SIGIO, which it is by default, would end the process.
  if (fcntl(fd, F_SETSIG, SIGURG) != 0) return -1;
  return fcntl(fd, F_SETLEASE, F_RDLCK);
}
