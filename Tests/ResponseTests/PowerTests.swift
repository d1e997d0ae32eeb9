import Files
import Fixtures
import Foundation
import Glibc
import Mail
import Testing

@testable import Response

/// The real program, cut off at any call that changes something, on a disk that then forgets what was not flushed.
///
/// The strictest reading of fsync(2): a file's bytes last when the file was flushed, its name when the directory was. What was not flushed is
/// all forgotten, or each name and each page by a coin, as disks do that write in an order of their own. What qmail-queue has taken counts
/// as flushed, by its own promise.
@Suite(
  .serialized, .enabled(if: Shim.shared != nil, "needs a C compiler and the built program"))
struct PowerTests {
  @Test(
    "after a power failure at any call: nothing lost, nothing half done",
    arguments: CrashTests.Sequence.allCases)
  func everyCall(_ sequence: CrashTests.Sequence) throws {
    let shim = try #require(Shim.shared)
    let whole = try Crash(sequence, shim)
    let calls = try whole.begin(at: nil, disk: Disk(of: whole, shim))
    #expect(calls > 10)
    let isSweep = getenv("QWARDEN_CRASH_SWEEP") != nil
    let stride = isSweep ? 1 : max(calls / 4, 1)
    for call in Swift.stride(from: isSweep ? 1 : stride / 2 + 1, through: calls, by: stride) {
      for seed in isSweep ? [nil, 1, 2] : [call % 2 == 0 ? nil : UInt64(call)] {
        let crash = try Crash(sequence, shim)
        let disk = try Disk(of: crash, shim)
        try crash.begin(at: call, disk: disk)
        try disk.losePower(seed: seed)
        let place = "power lost before call \(call) of \(calls), seed \(seed as Any)"
        try crash.checkNothingLost(place)
        try crash.restart(place, disk: disk)
        try crash.check(place)
      }
    }
    if isSweep { print("power: \(sequence.rawValue): lost before each of \(calls) calls, 3 ways") }
  }
}

/// What the disk below a run has for certain: kept beside it by a second shim, at each fsync(2), fdatasync(2) and syncfs(2).
final class Disk {
  let root: String
  private let shadow: String
  private let library: String

  /// - Parameter crash: whose tree lies on this disk, whole at this moment.
  init(of crash: Crash, _ shim: Shim) throws {
    root = crash.bench.path
    shadow = "\(root)/shadow"
    library = try #require(Self.compiled)
    guard mkdir(shadow, 0o700) == 0 else { throw FileError("create", shadow) }
  }

  private static let compiled = Shim.compile(source)

  /// For the program's environment; its first start finds everything flushed.
  var environment: [String: String] {
    ["DISK_ROOT": root, "DISK_SHADOW": shadow, "DISK_BOOT": "\(root)/boot"]
  }
  var preload: String { library }

  /// One generator, so that a failure is repeated by its seed.
  private struct Coin {
    var state: UInt64?
    /// Always false without a seed: nothing unflushed is kept.
    mutating func toss() -> Bool {
      guard let before = state else { return false }
      let next = before &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      state = next
      return next >> 63 == 1
    }
  }

  private struct Node {
    var path: String
    var isFolder: Bool
    var inode: UInt64
  }

  /// Brings the tree to what could be found after the machine's restart.
  func losePower(seed: UInt64?) throws {
    var coin = Coin(state: seed)
    let held = "\(shadow)/held"
    guard mkdir(held, 0o700) == 0 else { throw FileError("create", held) }
    try hold(root, held)
    try rebuild(root, held, &coin)
    try FileManager.default.removeItem(atPath: held)
    try write(Array("another boot\n".utf8), to: "\(root)/boot")
  }

  /// A second name for every file, so that inodes outlive their names.
  private func hold(_ folder: String, _ held: String) throws {
    for node in try nodes(folder) where node.path != shadow {
      if node.isFolder {
        try hold(node.path, held)
      } else {
        _ = Glibc.link(node.path, "\(held)/\(node.inode)")
      }
    }
  }

  private func nodes(_ folder: String) throws -> [Node] {
    try Descriptor.open(folder, .directory).names().sorted().compactMap { name in
      // A qmail-queue that was started may still be at its end.
      guard let status = try? FileStatus.of("\(folder)/\(name)") else { return nil }
      return Node(
        path: "\(folder)/\(name)", isFolder: status.isDirectory, inode: status.inode)
    }
  }

  /// The names of a directory that were flushed: inode and whether a folder, by name.
  private func flushed(_ inode: UInt64) throws -> [String: (inode: UInt64, isFolder: Bool)] {
    var names: [String: (inode: UInt64, isFolder: Bool)] = [:]
    for line in String(decoding: try read("\(shadow)/d.\(inode)"), as: UTF8.self)
      .split(separator: "\n")
    {
      let words = line.split(separator: " ", maxSplits: 2)
      names[String(words[2])] = (try #require(UInt64(words[0])), words[1] == "4")
    }
    return names
  }

  private func rebuild(_ folder: String, _ held: String, _ coin: inout Coin) throws {
    let isKnown = exists("\(shadow)/d.\(try FileStatus.of(folder).inode)")
    var wanted = isKnown ? try flushed(FileStatus.of(folder).inode) : [:]
    let current = try nodes(folder).filter { $0.path != shadow }
    var now: [String: (inode: UInt64, isFolder: Bool)] = [:]
    for node in current {
      now[String(node.path.dropFirst(folder.count + 1))] = (node.inode, node.isFolder)
    }
    for name in Set(now.keys).union(wanted.keys).sorted() {
      guard now[name]?.inode != wanted[name]?.inode, coin.toss() else { continue }
      wanted[name] = now[name]
    }
    for node in current where !node.isFolder { unlink(node.path) }
    for node in current where node.isFolder {
      if wanted[String(node.path.dropFirst(folder.count + 1))] == nil {
        try FileManager.default.removeItem(atPath: node.path)
      } else {
        try rebuild(node.path, held, &coin)
      }
    }
    for (name, found) in wanted.sorted(by: { $0.key < $1.key }) where !found.isFolder {
      try restore(found.inode, to: "\(folder)/\(name)", held, &coin)
    }
  }

  private func restore(_ inode: UInt64, to path: String, _ held: String, _ coin: inout Coin)
    throws
  {
    let source = "\(held)/\(inode)"
    let kept = "\(shadow)/f.\(inode)"
    let isHeld = exists(source)
    if isHeld { try #require(Glibc.link(source, path) == 0) }
    if isHeld, try !FileStatus.of(path).isRegular { return }
    guard exists(kept) else {
      // The name lasted and the bytes did not.
      guard !coin.toss() else { return }
      try write([], to: path)
      return
    }
    var bytes = try read(kept)
    let current = isHeld ? try read(source) : []
    if current != bytes {
      // Page by page; a longer file may have kept its length.
      if current.count > bytes.count, coin.toss() {
        bytes += [UInt8](repeating: 0, count: current.count - bytes.count)
      }
      for page in Swift.stride(from: 0, to: min(bytes.count, current.count), by: 4096) {
        let end = min(page + 4096, bytes.count, current.count)
        if coin.toss() { bytes.replaceSubrange(page..<end, with: current[page..<end]) }
      }
      let status = try FileStatus.of(kept)
      try write(bytes, to: path)
      chmod(path, status.permissions)
      var times = [timespec(), timespec()]
      for index in 0..<2 {
        times[index].tv_sec = Int(status.modified.nanoseconds / 1_000_000_000)
        times[index].tv_nsec = Int(status.modified.nanoseconds % 1_000_000_000)
      }
      utimensat(AT_FDCWD, path, times, 0)
    }
  }

  private func exists(_ path: String) -> Bool { (try? FileStatus.of(path)) != nil }

  private func read(_ path: String) throws -> [UInt8] {
    try Descriptor.open(path).readAll(limit: 1 << 30)
  }

  private func write(_ bytes: [UInt8], to path: String) throws {
    let file = try Descriptor.open(path, [.write, .create, .truncate])
    try file.write(bytes, at: 0)
  }

  /// System calls only: the libc names lead to the other shim, which counts them.
  private static let source = #"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <fcntl.h>
    #include <pthread.h>
    #include <stdarg.h>
    #include <stdint.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <sys/wait.h>
    #include <unistd.h>

    static const char *root, *shadow;

    // Two threads may be at work.
    static pthread_mutex_t shadowLock = PTHREAD_MUTEX_INITIALIZER;
    static void lock(void) { pthread_mutex_lock(&shadowLock); }
    static void unlock(void) { pthread_mutex_unlock(&shadowLock); }

    static int start(const char *path, int flags) {
      return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600);
    }
    static void keep(const char *path, int deep) {
      struct stat status;
      char name[4096], text[4096];
      int from = start(path, O_RDONLY | O_NONBLOCK | O_NOFOLLOW);
      if (from < 0) return;
      if (fstat(from, &status) || !(S_ISREG(status.st_mode) || S_ISDIR(status.st_mode))) {
        syscall(SYS_close, from);
        return;
      }
      int isFolder = S_ISDIR(status.st_mode);
      snprintf(name, sizeof name, "%s/%c.%lu", shadow, isFolder ? 'd' : 'f', status.st_ino);
      int to = start(name, O_WRONLY | O_CREAT | O_TRUNC);
      static char block[1 << 16];
      long count;
      if (!isFolder) {
        while ((count = syscall(SYS_read, from, block, sizeof block)) > 0)
          syscall(SYS_write, to, block, count);
        struct timespec times[2] = {status.st_atim, status.st_mtim};
        syscall(SYS_fchmod, to, status.st_mode & 07777);
        syscall(SYS_utimensat, to, NULL, times, 0);
      } else {
        char *room = malloc(1 << 16);
        while ((count = syscall(SYS_getdents64, from, room, 1 << 16)) > 0)
          for (long at = 0; at < count; at += *(uint16_t *)(room + at + 16)) {
            const char *entry = room + at + 19;
            if (!strcmp(entry, ".") || !strcmp(entry, "..")) continue;
            char below[4096];
            snprintf(below, sizeof below, "%s/%s", path, entry);
            if (!strcmp(below, shadow)) continue;
            syscall(SYS_write, to, text, snprintf(text, sizeof text, "%lu %d %s\n",
              *(uint64_t *)(room + at), room[at + 18], entry));
            if (deep) keep(below, 1);
          }
        free(room);
      }
      syscall(SYS_close, to);
      syscall(SYS_close, from);
    }
    __attribute__((constructor)) static void begin(void) {
      char name[32] = {0}, path[4096];
      int file = start("/proc/self/comm", O_RDONLY);
      if (file < 0) return;
      syscall(SYS_read, file, name, sizeof name - 1);
      syscall(SYS_close, file);
      if (strcmp(name, "qwarden\n") || !getenv("DISK_ROOT")) return;
      root = getenv("DISK_ROOT");
      shadow = getenv("DISK_SHADOW");
      keep(root, 1);
    }
    static void flushed(int file) {
      char link[64], path[4096];
      if (!root) return;
      snprintf(link, sizeof link, "/proc/self/fd/%d", file);
      long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
      if (length <= 0) return;
      path[length] = 0;
      if (strncmp(path, root, strlen(root))) return;
      lock();
      keep(path, 0);
      unlock();
    }
    #define WRAP(name, after) \
      int name(int file) { \
        static int (*real)(int); \
        if (!real) real = (int (*)(int))dlsym(RTLD_NEXT, #name); \
        int result = real(file); \
        if (!result) after; \
        return result; \
      }
    WRAP(fsync, flushed(file))
    WRAP(fdatasync, flushed(file))
    WRAP(syncfs, if (root) { lock(); keep(root, 1); unlock(); })
    pid_t waitpid(pid_t child, int *status, int options) {
      static pid_t (*real)(pid_t, int *, int);
      if (!real) real = (pid_t (*)(pid_t, int *, int))dlsym(RTLD_NEXT, "waitpid");
      int own;
      pid_t result = real(child, status ? status : &own, options);
      if (result > 0 && root && WIFEXITED(status ? *status : own)) {
        const char *folders[] = {"mess", "intd", "todo", "pid"};
        char path[4096];
        lock();
        for (int each = 0; each < 4; each++) {
          snprintf(path, sizeof path, "%s/qmail/queue/%s", root, folders[each]);
          keep(path, 1);
        }
        unlock();
      }
      return result;
    }
    // Takes this inode out of a flushed listing.
    static void forget(const char *listing, uint64_t inode) {
      char room[1 << 16], line[32];
      int file = start(listing, O_RDWR);
      if (file < 0) return;
      long count = syscall(SYS_read, file, room, sizeof room - 1);
      room[count > 0 ? count : 0] = 0;
      int length = snprintf(line, sizeof line, "%lu ", inode);
      for (char *at = room, *end; (end = strchr(at, '\n')); at = end + 1) {
        if (strncmp(at, line, length)) continue;
        memmove(at, end + 1, strlen(end + 1) + 1);
        syscall(SYS_ftruncate, file, 0);
        syscall(SYS_pwrite64, file, room, strlen(room), 0);
        break;
      }
      syscall(SYS_close, file);
    }
    // A new file may get the inode of one that was removed, of which then neither bytes nor name come back.
    static int born(int file, int isNew) {
      struct stat status;
      char name[4096];
      char names[1 << 16];
      if (file < 0 || !isNew || fstat(file, &status)) return file;
      lock();
      snprintf(name, sizeof name, "%s/f.%lu", shadow, status.st_ino);
      syscall(SYS_unlinkat, AT_FDCWD, name, 0);
      int folder = start(shadow, O_RDONLY | O_DIRECTORY);
      long count;
      while ((count = syscall(SYS_getdents64, folder, names, sizeof names)) > 0)
        for (long at = 0; at < count; at += *(uint16_t *)(names + at + 16)) {
          if (strncmp(names + at + 19, "d.", 2)) continue;
          snprintf(name, sizeof name, "%s/%s", shadow, names + at + 19);
          forget(name, status.st_ino);
        }
      syscall(SYS_close, folder);
      unlock();
      return file;
    }
    static int makes(int folder, const char *path, int flags) {
      return root && flags & O_CREAT && syscall(SYS_faccessat, folder, path, F_OK);
    }
    // Another boot, once the power was lost.
    static const char *today(const char *path) {
      const char *boot = getenv("DISK_BOOT");
      int isOther = root && boot && !strcmp(path, "/proc/sys/kernel/random/boot_id") && !access(boot, F_OK);
      return isOther ? boot : path;
    }
    #define OPEN(name, first, firstArgument, folder) \
      int name(first const char *path, int flags, ...) { \
        static int (*real)(first const char *, int, ...); \
        if (!real) real = (int (*)(first const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        int isNew = makes(folder, path, flags); \
        return born(real(firstArgument today(path), flags, mode), isNew); \
      }
    #define COMMA ,
    OPEN(open, , , AT_FDCWD)
    OPEN(open64, , , AT_FDCWD)
    OPEN(openat, int folder COMMA, folder COMMA, folder)
    """#
}
