import Files
import Foundation
import Glibc
import Ledger
import Mail
import Policy
import QmailControl
import QmailQueue
import QmailSimulator
import Testing

@testable import Response

/// The real program, killed by SIGKILL just before its n-th call that changes anything; then the next start, and the account.
///
/// A shim that LD_PRELOAD puts between the program and libc counts the calls and kills. `make crash` does it for every n; the suite for a
/// sample that is another in each sequence.
@Suite(
  .serialized, .enabled(if: CrashShim.shared != nil, "needs a C compiler and the built program"))
struct CrashTests {
  enum Sequence: String, CaseIterable {
    case quarantine, delete, release, block, unblock, expireBlock, expireQuarantine
  }

  @Test(
    "killed before any call that changes something: nothing lost, nothing half done",
    arguments: Sequence.allCases)
  func everyCall(_ sequence: Sequence) throws {
    let shim = try #require(CrashShim.shared)
    let whole = try Crash(sequence, shim)
    let calls = try whole.begin(at: nil)
    #expect(calls > 10, "\(sequence): only \(calls) calls were counted")
    try whole.check("not killed")
    let isSweep = getenv("QWARDEN_CRASH_SWEEP") != nil
    let stride = isSweep ? 1 : max(calls / 3, 1)
    for call in Swift.stride(
      from: isSweep ? 1 : 1 + sequence.rawValue.utf8.count % stride, through: calls, by: stride)
    {
      let crash = try Crash(sequence, shim)
      try crash.begin(at: call)
      try crash.checkNothingLost("killed before call \(call) of \(calls)")
      try crash.restart()
      try crash.check("killed before call \(call) of \(calls)")
    }
    if isSweep {
      print(
        "crash: \(sequence.rawValue): killed before each of \(calls) calls, every invariant held")
    }
  }
}

/// One run of a sequence on a simulated qmail of its own.
private final class Crash {
  let sequence: CrashTests.Sequence
  let shim: CrashShim
  let bench: Workbench
  let layout: QueueLayout
  var messages: [EntryIdentity: [UInt8]] = [:]
  /// A recipient that no other message has.
  var recipients: [EntryIdentity: String] = [:]
  let other: EntryIdentity
  static let adminLines = "admin@spam.test\n# mine\nlast@spam.test"
  /// Recipients of each message that were still to be tried.
  static let pending = 2

  init(_ sequence: CrashTests.Sequence, _ shim: CrashShim) throws {
    self.sequence = sequence
    self.shim = shim
    bench = try Workbench()
    layout = try QueueLayout.read(qmail: bench.qmail)
    bench.obey { $0.recipient == Address("no@remote.example") ? .failure : .deferral }
    for number in 0..<3 {
      let identity = try bench.message(
        to: ["a\(number)@remote.example", "b@mx.test", "no@remote.example"],
        body: String(repeating: "x", count: number * 3000))
      messages[identity] = try bench.bytes(layout.path(.mess, identity.id))
      recipients[identity] = "a\(number)@remote.example"
    }
    other = try bench.message(from: "carol@mx.test")
    try bench.write(Self.adminLines, to: bench.badmailfrom)
    try bench.write(
      "mode: observe\nlog:\n  source: none\nquarantine:\n  minimum-free-space: 0%\n  minimum-free-inodes: 0%\nblocking:\n  dialect: stock\n",
      to: "\(bench.path)/policy.yaml")
    let now = WallClock.now()
    switch sequence {
    case .quarantine, .delete, .block: break
    case .release, .expireQuarantine:
      let responder = try bench.responder()
      if sequence == .expireQuarantine { responder.policy.quarantine.keep = .seconds(60) }
      let order = RemovalOrder(by: "root", reason: "", keepsCopy: true)
      let (_, failure) = responder.remove(
        messages.keys.sorted().map { ($0, Address("alice@mx.test")) }, by: order,
        at: sequence == .expireQuarantine ? now - .seconds(3600) : now)
      #expect(failure == nil)
      bench.pass(seconds: 3600)
      _ = responder.quarantineTick(at: now)
    case .unblock, .expireBlock:
      let past = sequence == .expireBlock ? now - .seconds(7200) : now
      _ = try bench.responder().block(
        Address("spam@bad.test"), lasting: .seconds(3600), reason: "r", by: "root", at: past)
      #expect(try bench.text(bench.badmailfrom).contains("\nspam@bad.test\n"))
    }
  }

  private var places: [String] {
    ["--qmail", bench.qmail, "--state", bench.state, "--policy", "\(bench.path)/policy.yaml"]
  }

  /// - Returns: how many calls were counted.
  @discardableResult
  func begin(at call: Int?) throws -> Int {
    let chosen = ["--sender", "alice@mx.test", "--yes"]
    let words: [String] =
      switch sequence {
      case .quarantine: ["quarantine"] + chosen
      case .delete: ["delete"] + chosen
      case .release: ["release"] + chosen
      case .block: ["block", "spam@bad.test"]
      case .unblock: ["unblock", "spam@bad.test"]
      case .expireBlock, .expireQuarantine: ["run", "--once"]
      }
    let result = try shim.run(words + places, at: call, in: bench.path)
    if let call {
      #expect(result.wasKilled, "\(sequence): not killed at call \(call): \(result.output)")
    } else {
      #expect(result.status == 0, "\(sequence): \(result.output)")
    }
    return result.calls
  }

  /// The daemon, once: it finishes what was left.
  func restart() throws {
    // The program of qmail's that a release started may outlive its master for a moment.
    for _ in 0..<2 {
      let result = try shim.run(["run", "--once"] + places, at: nil, in: bench.path)
      #expect(result.status == 0, "\(sequence): the next start failed: \(result.output)")
      usleep(20_000)
    }
  }

  /// What holds at every moment.
  func checkNothingLost(_ place: String) throws {
    try checkBadmailfrom(place)
    guard sequence == .quarantine || sequence == .delete else { return }
    let store = try? QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    for (identity, original) in messages {
      if try bench.letters(identity)?.count(where: { $0 == "T" }) == Self.pending { continue }
      if sequence == .delete, try bench.letters(identity)?.contains("T") == false { continue }
      let kept = try #require(store, "\(sequence), \(place): a message is marked and nowhere else")
      #expect(
        try kept.message(identity).read(limit: 1 << 20) == original, "\(sequence), \(place)")
    }
  }

  private func checkBadmailfrom(_ place: String) throws {
    let text = try bench.text(bench.badmailfrom)
    #expect(text.hasPrefix(Self.adminLines), "\(sequence), \(place): \(text)")
    #expect(try FileStatus.of(bench.badmailfrom).permissions == 0o644, "\(sequence), \(place)")
  }

  /// What holds after the next start.
  func check(_ place: String) throws {
    let what: Comment = "\(sequence), \(place)"
    try checkBadmailfrom(place)
    let ledger = try Ledger("\(bench.state)/ledger.sqlite")
    let standing = try ledger.standingBlocks()
    let own = try bench.text(bench.badmailfrom).contains("spam@bad.test")
    #expect(own == standing.contains { $0.entry == Address("spam@bad.test") }, what)
    #expect(standing.allSatisfy { $0.state == .active }, what)
    #expect(try bench.letters(other) == "T", what)
    let litter = try Descriptor.open("\(bench.qmail)/control", .directory).names().filter {
      $0.hasPrefix(".")
    }
    #expect(litter.count <= 1, "\(what): \(litter)")

    let store = try? QuarantineStore(path: "\(bench.state)/quarantine", creating: false)
    let contents = try store?.contents()
    #expect(contents?.partial ?? [] == [] && contents?.foreign ?? [] == [], what)
    #expect(
      try Descriptor.open("\(layout.queue)/bounce", .directory).names()
        .filter { $0.hasPrefix("qwarden") } == [], what)
    let queued = try released()
    for (identity, recipient) in recipients {
      let row = try ledger.quarantine(of: identity)
      let isHeld = contents?.messages.contains(identity) == true
      let letters = try bench.letters(identity)
      let isUntouched = letters?.count { $0 == "T" } == Self.pending
      #expect(
        isUntouched || letters?.contains("T") != true, "\(what): half marked: \(letters ?? "")")
      if let store, isHeld {
        #expect(try store.message(identity).read(limit: 1 << 20) == messages[identity], what)
      }
      let copies = queued.count { $0.contains(recipient) }
      switch row?.state {
      case nil, .abandoned, .intended:
        #expect(
          isUntouched || sequence == .block || sequence == .unblock || sequence == .expireBlock,
          what)
        #expect(!isHeld, what)
      case .marked, .gone, .releaseInDoubt:
        #expect(isHeld && !isUntouched, what)
        #expect(row?.state == .releaseInDoubt || copies == 0, "\(what): kept and released")
      case .released: #expect(copies == 1 && !isHeld, "\(what): released \(copies) times")
      case .expired: #expect(!isHeld && !isUntouched, what)
      case .copied, .expiring, .releasing:
        Issue.record("\(what): left half done: \(row?.state as Any)")
      }
    }
  }

  /// The recipients of each message that a release put into the queue.
  private func released() throws -> [String] {
    var found: [String] = []
    for id in try Descriptor.open("\(layout.queue)/todo", .directory).names() {
      found.append(String(decoding: try bench.bytes("\(layout.queue)/todo/\(id)"), as: UTF8.self))
    }
    return found
  }
}

/// Some lines of C between the program and libc.
final class CrashShim: Sendable {
  static let shared = CrashShim()
  private let library: String
  private let program: String

  private init?() {
    guard let here = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")
    else { return nil }
    program = here.split(separator: "/").dropLast().map { "/" + $0 }.joined() + "/qwarden"
    guard access(program, X_OK) == 0 else { return nil }
    var template = Array("/tmp/qwarden-shim-XXXXXX".utf8CString)
    guard mkdtemp(&template) != nil else { return nil }
    let folder = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
    library = "\(folder)/shim.so"
    guard
      (try? Self.source.write(toFile: "\(folder)/shim.c", atomically: false, encoding: .utf8))
        != nil
    else { return nil }
    let compiler = Process()
    compiler.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    compiler.arguments = [
      "cc", "-shared", "-fPIC", "-O1", "-o", library, "\(folder)/shim.c", "-ldl",
    ]
    compiler.standardError = FileHandle.nullDevice
    guard (try? compiler.run()) != nil else { return nil }
    compiler.waitUntilExit()
    guard compiler.terminationStatus == 0 else { return nil }
  }

  struct Result {
    var status: Int32
    var wasKilled: Bool
    var calls: Int
    var output: String
  }

  func run(_ words: [String], at call: Int?, in folder: String) throws -> Result {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: program)
    process.arguments = words
    var environment = ProcessInfo.processInfo.environment
    environment["LD_PRELOAD"] = library
    environment["CRASH_COUNT"] = "\(folder)/calls"
    environment["CRASH_AT"] = call.map(String.init)
    environment["NOTIFY_SOCKET"] = nil
    process.environment = environment
    let output = "\(folder)/output"
    #expect(FileManager.default.createFile(atPath: output, contents: nil))
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: output))
    process.standardOutput = handle
    process.standardError = handle
    process.standardInput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    let calls = (try? String(contentsOfFile: "\(folder)/calls", encoding: .utf8)).flatMap {
      Int($0)
    }
    return Result(
      status: process.terminationStatus,
      wasKilled: process.terminationReason == .uncaughtSignal
        && process.terminationStatus == SIGKILL,
      calls: calls ?? 0, output: (try? String(contentsOfFile: output, encoding: .utf8)) ?? "")
  }

  private static let source = #"""
    #define _GNU_SOURCE
    #include <dlfcn.h>
    #include <fcntl.h>
    #include <signal.h>
    #include <stdarg.h>
    #include <stdatomic.h>
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <sys/stat.h>
    #include <sys/syscall.h>
    #include <unistd.h>

    static atomic_int calls;
    static int limit, active;

    __attribute__((constructor)) static void begin(void) {
      char name[32] = {0};
      int file = syscall(SYS_openat, AT_FDCWD, "/proc/self/comm", O_RDONLY);
      if (file < 0) return;
      syscall(SYS_read, file, name, sizeof name - 1);
      syscall(SYS_close, file);
      active = !strcmp(name, "qwarden\n");
      if (getenv("CRASH_AT")) limit = atoi(getenv("CRASH_AT"));
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
    #define WRAP(type, name, parameters, arguments, when) \
      type name parameters { \
        static type (*real) parameters; \
        if (!real) real = (type (*) parameters)dlsym(RTLD_NEXT, #name); \
        if (when) step(); \
        return real arguments; \
      }
    WRAP(ssize_t, write, (int f, const void *b, size_t n), (f, b, n), f > 2)
    WRAP(ssize_t, pwrite, (int f, const void *b, size_t n, off_t o), (f, b, n, o), 1)
    WRAP(ssize_t, pwrite64, (int f, const void *b, size_t n, off64_t o), (f, b, n, o), 1)
    WRAP(int, rename, (const char *a, const char *b), (a, b), 1)
    WRAP(int, renameat, (int d, const char *a, int e, const char *b), (d, a, e, b), 1)
    WRAP(int, unlink, (const char *a), (a), 1)
    WRAP(int, unlinkat, (int d, const char *a, int f), (d, a, f), 1)
    WRAP(int, link, (const char *a, const char *b), (a, b), 1)
    WRAP(int, mkdir, (const char *a, mode_t m), (a, m), 1)
    WRAP(int, ftruncate, (int f, off_t n), (f, n), 1)
    WRAP(int, ftruncate64, (int f, off64_t n), (f, n), 1)
    WRAP(int, fsync, (int f), (f), 1)
    WRAP(int, fdatasync, (int f), (f), 1)
    WRAP(int, syncfs, (int f), (f), 1)
    WRAP(int, fchmod, (int f, mode_t m), (f, m), 1)
    WRAP(int, fchown, (int f, uid_t u, gid_t g), (f, u, g), 1)
    #define OPEN(name, first, firstArgument) \
      int name(first const char *path, int flags, ...) { \
        static int (*real)(first const char *, int, ...); \
        if (!real) real = (int (*)(first const char *, int, ...))dlsym(RTLD_NEXT, #name); \
        va_list rest; \
        va_start(rest, flags); \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest); \
        if (flags & O_CREAT) step(); \
        return real(firstArgument path, flags, mode); \
      }
    #define COMMA ,
    OPEN(open, , )
    OPEN(open64, , )
    OPEN(openat, int folder COMMA, folder COMMA)
    OPEN(openat64, int folder COMMA, folder COMMA)
    """#
}
