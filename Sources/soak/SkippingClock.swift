import Files
import Foundation
import Glibc
import Mail
import Synchronization

/// The soak's time: the machine's, with the stretches left out in which nothing is due.
///
/// The program under test is the real one and knows nothing of it. A shim between it and libc adds the offsets of a page of shared memory to
/// what clock_gettime(2) says, sets its timers anew whenever a stretch is skipped, gives the files it writes the time that it sees, and tells
/// when its next timer is due. The same shim can say that the disk is full.
final class SkippingClock {
  /// The page, as the shim has it.
  private enum Place: Int { case wall = 0, steady = 8, next = 16, isFull = 24, sleepers = 32 }

  private let folder: String
  private let page: UnsafeMutableRawPointer
  private let waker: Descriptor
  let begin: Timestamp
  private let steadyBegin: Int64

  /// - Parameter begin: what the clock says at first. In the past, so that what the kernel stamps by itself (directories) seems new.
  init(folder: String, begin: Timestamp) throws {
    self.folder = folder
    self.begin = begin
    try Self.shim.write(toFile: "\(folder)/skip.c", atomically: false, encoding: .utf8)
    let isCompiled = try ["cc", "clang"].contains { name in
      let compiler = Process()
      compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
      compiler.arguments = [
        name, "-shared", "-fPIC", "-O1", "-o", "\(folder)/skip.so", "\(folder)/skip.c", "-ldl",
        "-lpthread",
      ]
      try compiler.run()
      compiler.waitUntilExit()
      return compiler.terminationStatus == 0
    }
    guard isCompiled else {
      throw FileError(
        "compile", "\(folder)/skip.c", code: ENOEXEC, remedy: "a C compiler is needed")
    }
    let file = try Descriptor.open("\(folder)/page", [.readWrite, .create], mode: 0o600)
    try file.write([UInt8](repeating: 0, count: 4096), at: 0)
    guard let page = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file.number, 0),
      page != MAP_FAILED
    else { throw FileError("map", "\(folder)/page") }
    self.page = page
    guard mkfifo("\(folder)/wake", 0o600) == 0 else { throw FileError("create", "\(folder)/wake") }
    waker = try Descriptor.open("\(folder)/wake", .readWrite)
    let flags = fcntl(waker.number, F_GETFL)
    _ = fcntl(waker.number, F_SETFL, flags | O_NONBLOCK)
    steadyBegin = WallClock.monotonic()
    set(.wall, begin.nanoseconds - WallClock.now().nanoseconds)
    set(.next, .max)
  }

  deinit { munmap(page, 4096) }

  /// What a program is started with; one that runs on has its timers set anew after a skip.
  func environment(runsOn: Bool) -> [String: String] {
    var environment = ["LD_PRELOAD": "\(folder)/skip.so", "SKIP_PAGE": "\(folder)/page"]
    if runsOn { environment["SKIP_WAKE"] = "\(folder)/wake" }
    return environment
  }

  private func cell(_ place: Place) -> UnsafeMutablePointer<Atomic<Int64>> {
    (page + place.rawValue).assumingMemoryBound(to: Atomic<Int64>.self)
  }
  private func get(_ place: Place) -> Int64 {
    cell(place).pointee.load(ordering: .sequentiallyConsistent)
  }
  private func set(_ place: Place, _ value: Int64) {
    cell(place).pointee.store(value, ordering: .sequentiallyConsistent)
  }

  /// What the program's calendar says.
  var now: Timestamp { Timestamp(nanoseconds: WallClock.now().nanoseconds + get(.wall)) }
  /// Seconds since the soak began, by the clock that never jumps.
  var elapsed: Double { Double(WallClock.monotonic() + get(.steady) - steadyBegin) / 1e9 }
  /// When the program's next timer is due, on the scale of ``elapsed``.
  var nextTimer: Double? {
    let next = get(.next)
    return next == .max ? nil : Double(next - steadyBegin) / 1e9
  }

  /// The program has ended, and its timers with it.
  func forgetTimers() {
    set(.next, .max)
    set(.sleepers, 0)
  }

  /// It waits for a moment in the middle of something (SQLite for a lock).
  var isWaiting: Bool { self.get(.sleepers) != 0 }

  /// Leaves out the time until then.
  func skip(to moment: Double) {
    let length = Int64((moment - elapsed) * 1e9)
    guard length > 0 else { return }
    set(.wall, get(.wall) + length)
    set(.steady, get(.steady) + length)
    wake()
  }

  /// Sets the calendar, and not the clock that never jumps.
  func jump(_ seconds: Double) {
    set(.wall, get(.wall) + Int64(seconds * 1e9))
    wake()
  }

  var isDiskFull: Bool {
    get { get(.isFull) != 0 }
    set { set(.isFull, newValue ? 1 : 0) }
  }

  private func wake() {
    var byte: UInt8 = 0
    _ = write(waker.number, &byte, 1)
  }

  private static let shim = #"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <errno.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <signal.h>
    #include <stdarg.h>
    #include <stdatomic.h>
    #include <stdint.h>
    #include <stdlib.h>
    #include <sys/mman.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/time.h>
    #include <sys/timerfd.h>
    #include <time.h>
    #include <unistd.h>

    static struct { _Atomic int64_t wall, steady, next, full, sleepers; } *page;
    static struct { int clock; int64_t due; } timers[1024];
    static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

    static int64_t offset(clockid_t clock) {
      if (!page) return 0;
      switch (clock) {
        case CLOCK_REALTIME: case CLOCK_REALTIME_COARSE: return page->wall;
        case CLOCK_MONOTONIC: case CLOCK_MONOTONIC_RAW: case CLOCK_MONOTONIC_COARSE: case CLOCK_BOOTTIME:
          return page->steady;
        default: return 0;
      }
    }
    static int64_t now(clockid_t clock) {
      struct timespec t;
      syscall(SYS_clock_gettime, clock, &t);
      return t.tv_sec * 1000000000LL + t.tv_nsec + offset(clock);
    }
    int clock_gettime(clockid_t clock, struct timespec *t) {
      if (!offset(clock)) return syscall(SYS_clock_gettime, clock, t);
      int64_t time = now(clock);
      t->tv_sec = time / 1000000000;
      t->tv_nsec = time % 1000000000;
      return 0;
    }
    int gettimeofday(struct timeval *restrict t, void *restrict zone) {
      int64_t time = now(CLOCK_REALTIME);
      t->tv_sec = time / 1000000000;
      t->tv_usec = time % 1000000000 / 1000;
      return 0;
    }
    time_t time(time_t *t) {
      time_t seconds = now(CLOCK_REALTIME) / 1000000000;
      if (t) *t = seconds;
      return seconds;
    }

    static void arm(int file) {
      int64_t left = timers[file].due - now(timers[file].clock);
      if (left < 1) left = 1;
      struct itimerspec t = {{0, 0}, {left / 1000000000, left % 1000000000}};
      if (!timers[file].due) t.it_value.tv_nsec = 0, t.it_value.tv_sec = 0;
      syscall(SYS_timerfd_settime, file, 0, &t, NULL);
    }
    static void tell(void) {
      int64_t next = INT64_MAX;
      for (int file = 0; file < 1024; file++) {
        if (!timers[file].due) continue;
        int64_t due = timers[file].due - now(timers[file].clock) + now(CLOCK_MONOTONIC);
        if (due < next) next = due;
      }
      if (page) page->next = next;
    }
    int timerfd_create(int clock, int flags) {
      int file = syscall(SYS_timerfd_create, clock, flags);
      if (file >= 0 && file < 1024) timers[file].clock = clock, timers[file].due = 0;
      return file;
    }
    int timerfd_settime(int file, int flags, const struct itimerspec *new, struct itimerspec *old) {
      if (!page || file < 0 || file >= 1024) return syscall(SYS_timerfd_settime, file, flags, new, old);
      int64_t value = new->it_value.tv_sec * 1000000000LL + new->it_value.tv_nsec;
      pthread_mutex_lock(&lock);
      timers[file].due = !value ? 0 : flags & TFD_TIMER_ABSTIME ? value : now(timers[file].clock) + value;
      arm(file);
      tell();
      pthread_mutex_unlock(&lock);
      return 0;
    }
    static void *skipper(void *wake) {
      char bytes[64];
      while (read(*(int *)wake, bytes, sizeof bytes) > 0) {
        pthread_mutex_lock(&lock);
        for (int file = 0; file < 1024; file++) if (timers[file].due) arm(file);
        tell();
        pthread_mutex_unlock(&lock);
      }
      return NULL;
    }

    __attribute__((constructor)) static void begin(void) {
      static int wake;
      const char *path = getenv("SKIP_PAGE");
      int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
      if (file < 0) return;
      void *map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
      close(file);
      if (map == MAP_FAILED) return;
      page = map;
      path = getenv("SKIP_WAKE");
      if (!path || (wake = open(path, O_RDWR | O_CLOEXEC)) < 0) return;
      unsetenv("SKIP_WAKE");
      sigset_t all, old;
      sigfillset(&all);
      pthread_sigmask(SIG_SETMASK, &all, &old);
      pthread_t thread;
      pthread_create(&thread, NULL, skipper, &wake);
      pthread_sigmask(SIG_SETMASK, &old, NULL);
    }

    int usleep(useconds_t length) {
      struct timespec t = {length / 1000000, length % 1000000 * 1000};
      if (page) page->sleepers++;
      int result = syscall(SYS_nanosleep, &t, NULL);
      if (page) page->sleepers--;
      return result;
    }
    static int regular(int file) {
      struct stat status;
      return page && !fstat(file, &status) && S_ISREG(status.st_mode);
    }
    static void stamp(int file) {
      struct timespec times[2];
      clock_gettime(CLOCK_REALTIME, &times[0]);
      times[1] = times[0];
      int error = errno;
      futimens(file, times);
      errno = error;
    }
    #define WRITE(name, parameters, arguments) \
      ssize_t name parameters { \
        static ssize_t (*real) parameters; \
        if (!real) real = (ssize_t (*) parameters)dlsym(RTLD_NEXT, #name); \
        if (!regular(file)) return real arguments; \
        if (page->full) { errno = ENOSPC; return -1; } \
        ssize_t written = real arguments; \
        if (written >= 0) stamp(file); \
        return written; \
      }
    WRITE(write, (int file, const void *bytes, size_t count), (file, bytes, count))
    WRITE(pwrite, (int file, const void *bytes, size_t count, off_t at), (file, bytes, count, at))
    WRITE(pwrite64, (int file, const void *bytes, size_t count, off64_t at), (file, bytes, count, at))
    """#
}
