extension Shim {
  /// The file named by `FAULTS` is read again whenever it has changed. Its lines: `fail ERRNO KINDS PREFIX` makes calls of these kinds on
  /// paths below the prefix (`*`: all) fail: `r` opening for reading, reading, looking at, listing; `w` everything that changes something;
  /// `g` only what needs room; `d` what makes a descriptor; `n` inotify. `clock SECONDS` moves the time of day, `boot SECONDS` the time since boot.
  static let source = #"""
    #define _GNU_SOURCE
    #include <dirent.h>
    #include <dlfcn.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdarg.h>
    #include <stdatomic.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/inotify.h>
    #include <sys/socket.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/time.h>
    #include <time.h>
    #include <unistd.h>

    static atomic_int calls;
    static int limit, active;
    static const char *faults;

    __attribute__((constructor)) static void begin(void) {
      char name[32] = {0};
      int file = syscall(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY);
      if (file < 0) return;
      syscall(SYS_read, file, name, sizeof name - 1);
      syscall(SYS_close, file);
      active = !strcmp(name, "qwarden\n");
      if (getenv("CRASH_AT")) limit = atoi(getenv("CRASH_AT"));
      if (active) faults = getenv("FAULTS");
    }
    __attribute__((destructor)) static void end(void) {
      char text[16];
      const char *path = getenv("CRASH_COUNT");
      if (!active || !path) return;
      int file = syscall(SYS_openat, AT_FDCWD, path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
      if (file < 0) return;
      syscall(SYS_write, file, text, snprintf(text, sizeof text, "%d", calls));
      syscall(SYS_close, file);
    }
    static void step(void) {
      if (active && ++calls == limit) { kill(getpid(), SIGKILL); for (;;) pause(); }
    }

    struct fault { int code; char kinds[8]; char prefix[256]; };
    static struct fault known[16];
    static int count;
    static _Atomic int64_t clock_shift, boot_shift;
    static struct timespec seen;
    static ino_t seen_inode;
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    /* Called with the lock held. */
    static void reread(void) {
      struct stat now;
      if (syscall(SYS_newfstatat, AT_FDCWD, faults, &now, 0) != 0) {
        count = 0; clock_shift = boot_shift = 0; seen_inode = 0;
        return;
      }
      if (now.st_ino == seen_inode && now.st_mtim.tv_sec == seen.tv_sec
          && now.st_mtim.tv_nsec == seen.tv_nsec) return;
      seen = now.st_mtim; seen_inode = now.st_ino;
      count = 0; clock_shift = boot_shift = 0;
      char text[4096] = {0};
      int file = syscall(SYS_openat, AT_FDCWD, faults, O_RDONLY);
      if (file < 0) return;
      syscall(SYS_read, file, text, sizeof text - 1);
      syscall(SYS_close, file);
      char *rest = text, *line;
      while ((line = strsep(&rest, "\n"))) {
        long long shift;
        struct fault *next = &known[count];
        if (sscanf(line, "clock %lld", &shift) == 1) clock_shift = shift;
        else if (sscanf(line, "boot %lld", &shift) == 1) boot_shift = shift;
        else if (count < 16
            && sscanf(line, "fail %d %7s %255s", &next->code, next->kinds, next->prefix) == 3)
          count++;
      }
    }
    /* 0, or the errno that a call of this kind on this path is to fail with. */
    static int fails(const char *kinds, int folder, const char *path) {
      if (!faults) return 0;
      int saved = errno, code = 0;
      pthread_mutex_lock(&lock);
      reread();
      if (count > 0) {
        char whole[1024] = "", link[32];
        if (folder != AT_FDCWD && (!path || path[0] != '/')) {
          snprintf(link, sizeof link, "/proc/self/fd/%d", folder);
          long n = syscall(SYS_readlink, link, whole, sizeof whole - 1);
          whole[n > 0 ? n : 0] = 0;
        }
        if (path) {
          if (whole[0]) strncat(whole, "/", sizeof whole - strlen(whole) - 1);
          strncat(whole, path, sizeof whole - strlen(whole) - 1);
        }
        for (int i = 0; i < count && !code; i++)
          if (strpbrk(known[i].kinds, kinds)
              && (known[i].prefix[0] == '*'
                  || !strncmp(known[i].prefix, whole, strlen(known[i].prefix))))
            code = known[i].code;
      }
      pthread_mutex_unlock(&lock);
      errno = saved;
      return code;
    }

    #define WRAP(type, name, parameters, arguments, when, kinds, folder, path) \
      type name parameters { \
        static type (*real) parameters; \
        if (!real) real = (type (*) parameters)dlsym(RTLD_NEXT, #name); \
        if (when) step(); \
        int code = fails(kinds, folder, path); \
        if (code) { errno = code; return (type)-1; } \
        return real arguments; \
      }
    WRAP(ssize_t, write, (int f, const void *b, size_t n), (f, b, n), f > 2, f > 2 ? "wg" : "", f, 0)
    WRAP(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o), 1, "wg", f, 0)
    WRAP(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o), 1, "wg", f, 0)
    WRAP(int, rename, (const char *a, const char *b), (a, b), 1, "w", AT_FDCWD, a)
    WRAP(int, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), 1, "w", d, a)
    WRAP(int, renameat2, (int d, const char *a, int e, const char *b, unsigned f), (d, a, e, b, f), 1, "w", d, a)
    WRAP(int, unlink, (const char *a), (a), 1, "w", AT_FDCWD, a)
    WRAP(int, unlinkat, (int d, const char *a, int f), (d, a, f), 1, "w", d, a)
    WRAP(int, link, (const char *a, const char *b), (a, b), 1, "wg", AT_FDCWD, b)
    WRAP(int, mkdir, (const char *a, mode_t m), (a, m), 1, "wg", AT_FDCWD, a)
    WRAP(int, ftruncate, (int f, off_t n), (f, n), 1, "w", f, 0)
    WRAP(int, ftruncate64, (int f, off64_t n), (f, n), 1, "w", f, 0)
    WRAP(int, fsync, (int f), (f), 1, "w", f, 0)
    WRAP(int, fdatasync, (int f), (f), 1, "w", f, 0)
    WRAP(int, syncfs, (int f), (f), 1, "w", f, 0)
    WRAP(int, fchmod, (int f, mode_t m), (f, m), 1, "w", f, 0)
    WRAP(int, fchown, (int f, uid_t u, gid_t g), (f, u, g), 1, "w", f, 0)
    WRAP(ssize_t, read, (int f, void *b, size_t n), (f, b, n), 0, "r", f, 0)
    WRAP(ssize_t, pread, (int f, void *b, size_t n, off_t o), (f, b, n, o), 0, "r", f, 0)
    WRAP(ssize_t, pread64, (int f, void *b, size_t n, off64_t o), (f, b, n, o), 0, "r", f, 0)
    WRAP(int, stat, (const char *p, struct stat *s), (p, s), 0, "r", AT_FDCWD, p)
    WRAP(int, lstat, (const char *p, struct stat *s), (p, s), 0, "r", AT_FDCWD, p)
    WRAP(int, fstatat, (int d, const char *p, struct stat *s, int f), (d, p, s, f), 0, "r", d, p)
    WRAP(int, inotify_init1, (int f), (f), 0, "dn", AT_FDCWD, "inotify")
    WRAP(int, inotify_add_watch, (int f, const char *p, uint32_t m), (f, p, m), 0, "n", AT_FDCWD, p)
    WRAP(int, socket, (int d, int t, int p), (d, t, p), 0, "d", AT_FDCWD, "socket")
    WRAP(int, accept4, (int f, struct sockaddr *a, socklen_t *n, int g), (f, a, n, g), 0, "d", AT_FDCWD, "socket")
    WRAP(int, accept, (int f, struct sockaddr *a, socklen_t *n), (f, a, n), 0, "d", AT_FDCWD, "socket")
    #define OPEN(name, first, firstArgument, folder) \
      int name(first const char *path, int flags, ...) { \
        static int (*real)(first const char *, int, ...); \
        if (!real) real = (int (*)(first const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (flags & O_CREAT) step(); \
        int code = fails(flags & (O_CREAT | O_TRUNC) ? "dwgr" : flags & O_ACCMODE ? "dwr" : "dr", folder, path); \
        if (code) { errno = code; return -1; } \
        return real(firstArgument path, flags, mode); \
      }
    #define COMMA ,
    OPEN(open, , , AT_FDCWD)
    OPEN(open64, , , AT_FDCWD)
    OPEN(openat, int folder COMMA, folder COMMA, folder)
    OPEN(openat64, int folder COMMA, folder COMMA, folder)

    int clock_gettime(clockid_t which, struct timespec *time) {
      int result = syscall(SYS_clock_gettime, which, time);
      if (!faults || result != 0) return result;
      pthread_mutex_lock(&lock);
      reread();
      pthread_mutex_unlock(&lock);
      if (which == CLOCK_REALTIME) time->tv_sec += clock_shift;
      if (which == CLOCK_BOOTTIME) time->tv_sec += boot_shift;
      return result;
    }
    time_t time(time_t *where) {
      struct timespec now;
      clock_gettime(CLOCK_REALTIME, &now);
      if (where) *where = now.tv_sec;
      return now.tv_sec;
    }
    int gettimeofday(struct timeval *restrict where, void *restrict zone) {
      struct timespec now;
      clock_gettime(CLOCK_REALTIME, &now);
      where->tv_sec = now.tv_sec;
      where->tv_usec = now.tv_nsec / 1000;
      return 0;
    }
    """#
}
