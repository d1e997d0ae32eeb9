import Glibc

/// A real systemd-journald on a private /run, for one thread.
enum JournalLab {
  static let journald = "/lib/systemd/systemd-journald"

  /// Why there can be none here; nil when there can.
  static let obstacle: String? = {
    guard exists(journald), exists("/usr/bin/journalctl") else { return "no systemd-journald here" }
    guard geteuid() == 0 else { return "needs root, for mounts of its own" }
    do {
      try onPrivateMounts {}
      return nil
    } catch { return "\(error)" }
  }()

  /// Runs `body` on a thread with journald listening; returns the entries that it made.
  static func entries(from body: @escaping @Sendable () throws -> Void) throws -> [JournalEntry] {
    try onPrivateMounts {
      for folder in ["/run/systemd", "/run/systemd/journal", "/run/log", "/run/log/journal"] {
        guard mkdir(folder, 0o755) == 0 else { throw LabError(folder) }
      }
      let silent = open("/dev/null", O_WRONLY | O_CLOEXEC)
      defer { close(silent) }
      let daemon = try spawn([journald], output: silent)
      defer {
        kill(daemon, SIGTERM)
        wait(for: daemon)
      }
      for _ in 0..<200 where !exists("/run/systemd/journal/io.systemd.journal") { usleep(10_000) }
      try body()
      try run("/usr/bin/journalctl", "--sync")
      let all = try run(
        "/usr/bin/journalctl", "--directory=/run/log/journal", "-o", "export", "--all",
        "SYSLOG_IDENTIFIER=qwarden")
      return JournalEntry.parse(export: all.output)
    }
  }

  /// Runs `body` on a thread of its own, in a mount namespace of its own with empty /run and /var/log. No other
  /// thread of the process sees these mounts.
  static func onPrivateMounts<T>(_ body: @escaping () throws -> T) throws -> T {
    let work = Work {
      guard unshareMounts() == 0 else { throw LabError("unshare") }
      let isPrivate = UInt(MS_REC | MS_PRIVATE)
      guard mount("none", "/", nil, isPrivate, nil) == 0 else { throw LabError("private mounts") }
      for folder in ["/run", "/var/log"] {
        guard mount("tmpfs", folder, "tmpfs", 0, nil) == 0 else {
          throw LabError("mount \(folder)")
        }
      }
      return try body()
    }
    var thread = pthread_t()
    let code = pthread_create(
      &thread, nil,
      { pointer in
        pointer.map { Unmanaged<AnyWork>.fromOpaque($0).takeUnretainedValue().perform() }
        return nil
      }, Unmanaged<AnyWork>.passUnretained(work).toOpaque())
    guard code == 0 else { throw LabError("pthread_create", code: code) }
    pthread_join(thread, nil)
    guard let result = work.result else { throw LabError("thread", code: ECHILD) }
    return try result.get()
  }
}

/// unshare(2), which Glibc's Swift module does not export.
private func unshareMounts() -> Int32 {
  typealias Unshare = @convention(c) (Int32) -> Int32
  guard let symbol = dlsym(nil, "unshare") else { return -1 }
  return unsafeBitCast(symbol, to: Unshare.self)(0x0002_0000)  // CLONE_NEWNS
}

private class AnyWork { func perform() {} }

private final class Work<T>: AnyWork {
  let body: () throws -> T
  var result: Result<T, any Error>?
  init(_ body: @escaping () throws -> T) { self.body = body }
  override func perform() { result = Result { try body() } }
}

/// An entry as it lies in the journal, byte for byte.
struct JournalEntry {
  private var fields: [String: [[UInt8]]] = [:]

  func values(_ name: String) -> [[UInt8]] { fields[name] ?? [] }

  func text(_ name: String) -> String? {
    fields[name]?.first.map { String(decoding: $0, as: UTF8.self) }
  }

  /// The journal export format: `NAME=text`, or for binary values `NAME`, a 64-bit little-endian length, the bytes; an
  /// empty line ends an entry.
  static func parse(export bytes: [UInt8]) -> [JournalEntry] {
    var entries: [JournalEntry] = []
    var entry = JournalEntry()
    var rest = bytes[...]
    while let end = rest.firstIndex(of: UInt8(ascii: "\n")) {
      let line = rest[..<end]
      rest = rest[(end + 1)...]
      if line.isEmpty {
        entries.append(entry)
        entry = JournalEntry()
      } else if let equals = line.firstIndex(of: UInt8(ascii: "=")) {
        let name = String(decoding: line[..<equals], as: UTF8.self)
        entry.fields[name, default: []].append(Array(line[(equals + 1)...]))
      } else {
        let length = rest.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        let name = String(decoding: line, as: UTF8.self)
        entry.fields[name, default: []].append(Array(rest.dropFirst(8).prefix(length)))
        rest = rest.dropFirst(8 + length + 1)
      }
    }
    return entries
  }
}
