#define _GNU_SOURCE
#include "CLinux.h"

#include <malloc.h>
#include <sys/syscall.h>
#include <unistd.h>

ssize_t clinux_getdents64(int fd, void *buffer, size_t size) {
  return syscall(SYS_getdents64, fd, buffer, size);
}

void clinux_trim(void) { malloc_trim(0); }
