import Files
import Fixtures
import Foundation
import Glibc
import Mail
import QmailQueue
import QmailSimulator
import Synchronization

/// A qmail whose queue holds every injection, a storm of some of them, and the real program on it, with a journal's and a service
/// manager's sockets of our own to hear what it says there.
final class HostileQmail {
  struct Output {
    var status: Int32
    var standard: [UInt8]
    var error: [UInt8]
  }

  private let folder = TemporaryFolder()
  var path: String { folder.path }
  let program: String
  /// The messages' bytes as they lie in the queue, by subject.
  private(set) var messages: [String: [UInt8]] = [:]
  /// Their numbers.
  private(set) var ids: [UInt64] = []
  var qmail: String { "\(path)/qmail" }
  var state: String { "\(path)/state" }
  var metrics: String { "\(path)/metrics.prom" }

  /// Senders whose mail is a storm.
  static let storming = [
    "newline", "journal field", "terminal title", "script", "right to left", "broken UTF-8",
    "wildcards",
    "plain",
  ]

  /// nil where the program has not been built.
  init?() throws {
    guard let built = BuiltProgram.path else { return nil }
    program = built
    try Folder.make("\(path)/journal")
    try fill()
  }

  private func fill() throws {
    let qmail = try SimulatedQmail.create(at: qmail)
    qmail.exchanger = SteadyExchanger { attempt in
      attempt.recipient.bytes.starts(with: "no".utf8) ? .failure : .deferral
    }
    let now = WallClock.now()
    try qmail.start(at: now)
    let log = try LineFile("\(path)/send.log")
    qmail.onLog = { time, line in log.add("@4000000000000000 \(line)") }
    var queued: [(id: UInt64, injection: Injection)] = []
    func queue(_ injection: Injection, _ place: Int, recipients: [Address]) throws {
      let subject = "=?utf-8?B?\(Data(injection.bytes).base64EncodedString())?="
      let oneLine = injection.bytes.filter { $0 != 10 && $0 != 13 }
      let message =
        Array("Subject: \(subject)\nX-Number: \(injection.name) \(place)\nFrom: <".utf8) + oneLine
        + Array(">\nTo: ".utf8) + oneLine + Array("\nX-Raw: ".utf8)
        + injection.bytes.filter { $0 != 10 }
        + Array("\n\nFrom me\n>From me\n".utf8) + oneLine + [10]
      let name = injection.text.unicodeScalars.filter { $0.value > 32 && $0.value < 127 }
      let id = try qmail.inject(
        SimulatedInjection(
          sender: injection.isLong ? Address("long@x.example") : injection.address,
          recipients: recipients,
          source: .network(
            client: "198.18.7.\(place % 200)",
            helo: "h\(String(String.UnicodeScalarView(name)).prefix(60))",
            user: place % 2 == 0 ? "u\(String(String.UnicodeScalarView(name)).prefix(60))" : nil),
          message: message), at: now)
      queued.append((id, injection))
    }
    for (place, injection) in Injection.all.enumerated() where !injection.hasNUL {
      try queue(
        injection, place,
        recipients: [
          injection.isLong ? Address("long@y.example") : injection.address, Address("no@y.example"),
        ])
    }
    for injection in Injection.all where Self.storming.contains(injection.name) {
      for number in 0..<40 {
        try queue(
          injection, number * 2 + 1000,
          recipients: (0..<3).map { Address("\($0 == 0 ? "later" : "no")@d\(number)\($0).example") }
        )
      }
    }
    qmail.advance(to: now + .seconds(1), from: now)
    qmail.stop(at: now + .seconds(1))
    let layout = try QueueLayout.read(qmail: self.qmail)
    for (id, injection) in queued {
      if injection.isLong {
        try Replacement.write(
          Array("F".utf8) + injection.bytes + [0], to: layout.path(.info, id), mode: 0o600)
        try Replacement.write(
          Array("T".utf8) + injection.bytes + [0], to: layout.path(.remote, id), mode: 0o600)
      }
      let bytes = try Descriptor.open(layout.path(.mess, id)).readAll(limit: 1 << 20)
      messages[String(id)] = bytes
      ids.append(id)
    }
    try Replacement.write(
      Array(
        """
        mode: enforce
        polling: {normal: 1s, storm: 1s}
        log: {source: none}
        quarantine: {minimum-free-space: 0%, minimum-free-inodes: 0%}
        metrics: {file: \(metrics)}

        """.utf8), to: "\(path)/policy.yaml", mode: 0o644)
    try Replacement.write(
      Array("# mine\nspam@elsewhere.example".utf8), to: badmailfrom, mode: 0o644)
  }

  var badmailfrom: String { "\(qmail)/control/badmailfrom" }
  func bytes(_ path: String) throws -> [UInt8] {
    try Descriptor.open(path).readAll(limit: 64 << 20)
  }

  private func process(_ words: [String], _ name: String) throws -> Process {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: words[0])
    process.arguments = Array(words.dropFirst())
    process.standardInput = FileHandle.nullDevice
    for (suffix, take) in [
      ("out", { process.standardOutput = $0 }), ("err", { process.standardError = $0 }),
    ] as [(String, (FileHandle) -> Void)] {
      let path = "\(path)/\(name).\(suffix)"
      _ = FileManager.default.createFile(atPath: path, contents: nil)
      take(try FileHandle(forWritingTo: URL(fileURLWithPath: path)))
    }
    return process
  }

  var places: [String] { ["--qmail", qmail, "--state", state, "--policy", "\(path)/policy.yaml"] }

  /// Runs a command to its end.
  func run(_ words: [String], places given: [String]? = nil) throws -> Output {
    let process = try process([program] + words + (given ?? places), "command")
    try process.run()
    process.waitUntilExit()
    return Output(
      status: process.terminationStatus, standard: try bytes("\(path)/command.out"),
      error: try bytes("\(path)/command.err"))
  }

  /// Runs `body` while the daemon runs.
  /// - Returns: what it printed, and what the journal (where there can be one) and the service manager were sent.
  func whileWatched(json: Bool, _ body: () throws -> Void) throws -> (
    printed: [UInt8], journal: [[UInt8]], notified: [[UInt8]]
  ) {
    let journal = try DatagramEar("\(path)/journal/socket")
    let manager = try DatagramEar("\(path)/notify")
    let own = [program, "run"] + (json ? ["--json"] : []) + places
    let mounts =
      "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind \"$0\" /run/systemd/journal && exec \"$@\""
    let words =
      geteuid() == 0
      ? ["/usr/bin/unshare", "-m", "/bin/sh", "-c", mounts, "\(path)/journal"] + own : own
    let daemon = try process(words, "daemon")
    daemon.environment = ProcessInfo.processInfo.environment.merging([
      "NOTIFY_SOCKET": "\(path)/notify", "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    ]) { $1 }
    try daemon.run()
    defer { daemon.waitUntilExit() }
    do { try body() } catch {
      daemon.terminate()
      throw error
    }
    daemon.terminate()
    daemon.waitUntilExit()
    return (
      try bytes("\(path)/daemon.out") + bytes("\(path)/daemon.err"), journal.end(), manager.end()
    )
  }
}

/// Lines appended to a file.
private final class LineFile {
  private let file: Descriptor
  private var end: Int64 = 0
  init(_ path: String) throws { file = try Descriptor.open(path, [.write, .create], mode: 0o644) }
  func add(_ line: String) {
    let bytes = Array("\(line)\n".utf8)
    try? file.write(bytes, at: end)
    end += Int64(bytes.count)
  }
}

/// A Unix datagram socket and a thread that keeps what comes.
private final class DatagramEar: Sendable {
  private let descriptor: Descriptor
  private let heard = Mutex<[[UInt8]]>([])
  private let isOver = Mutex(false)
  private let ended = DispatchSemaphore(value: 0)

  init(_ path: String) throws {
    unlink(path)
    descriptor = try UnixSocket.receiver(at: path, patience: .milliseconds(50))
    let listening = Thread { [self] in
      var buffer = [UInt8](repeating: 0, count: 1 << 20)
      while true {
        let count = recv(descriptor.number, &buffer, buffer.count, 0)
        if count > 0 {
          let datagram = Array(buffer[..<count])
          heard.withLock { $0.append(datagram) }
        } else if isOver.withLock({ $0 }) {
          break
        }
      }
      ended.signal()
    }
    listening.start()
  }

  func end() -> [[UInt8]] {
    isOver.withLock { $0 = true }
    ended.wait()
    return heard.withLock { $0 }
  }
}
