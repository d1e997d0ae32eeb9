import Files
import Foundation
import Glibc
import Mail

/// How the daemon stands, in `STATE/status.json` for `qwarden status`: written when it changes, its file's time set after each look at the queue.
public struct StatusReport: Codable, Sendable, Hashable {
  public var version: String
  public var pid: Int32
  /// Unix times in seconds.
  public var started: Double
  public var written: Double
  public var mode: String
  public var qmail: String
  /// What does not work at the moment.
  public var troubles: [Trouble]
  /// What works less well than it could: lost inotify, unknown badmailfrom dialect.
  public var notes: [String]
  public var queue: Queue
  public var lastLook: Look
  public var storms: [OpenStorm]
  public var activeBlocks: Int
  public var quarantined: Int
  /// Messages chosen for the quarantine and not yet set aside.
  public var quarantinePending: Int
  /// Where the ledger found at the start was set aside, damaged.
  public var damagedLedger: String?
  /// qmail-send's log; nil when the policy wants none.
  public var log: Log?

  public struct Trouble: Codable, Sendable, Hashable {
    /// `queue`, `events`, `messages`, `ledger`, `blocking`, `quarantine`, `state`, `history`, `metrics`, `questions` or `journal`.
    public var kind: String
    public var what: String
    public var why: String
    /// Unix time.
    public var since: Double
  }

  public struct Queue: Codable, Sendable, Hashable {
    public var messages = 0
    public var unprocessed = 0
    public var local: Int?
    public var remote: Int?
    public var bouncing: Int?
    public var doneOnly: Int?
    public var senderIsRunning: Bool?
    /// Messages found and not read yet: how far the first look at a large queue is.
    public var unread = 0
    /// true while names are still being listed after the start: `messages` is the least there are.
    public var isPartial: Bool?

    /// How many messages, for people.
    public var size: String { "\(isPartial == true ? "at least " : "")\(messages) messages" }

    public init() {}
  }

  /// One look at the queue. `seconds` is the whole time it took.
  public struct Look: Codable, Sendable, Hashable {
    public var new = 0
    public var gone = 0
    public var opened = 0
    public var seconds = 0.0
    /// Messages read since the start, and those that came and went unread.
    public var seen = 0
    public var missed = 0

    public init() {}
  }

  /// How qmail-send's log is followed.
  public struct Log: Codable, Sendable, Hashable {
    /// The path, or whose journal; nil while none was found.
    public var source: String?
    /// Seconds between the line read last and now while there is more to read at once; 0 when all is read.
    public var behind = 0.0
    /// Bytes written and not read yet; nil for a journal.
    public var unread: Int64?
    /// Unix time of the line read last.
    public var lastLine: Double?
    /// Lines of qmail-send since the start, and times that lines may have been missed.
    public var lines = 0
    public var gaps = 0
    /// Messages since the start by where they were seen; one of the last 90 seconds may not be in it yet.
    public var seenByBoth = 0
    public var seenByQueueOnly = 0
    public var seenByLogOnly = 0

    public init() {}
  }

  public struct OpenStorm: Codable, Sendable, Hashable {
    public var incident: Int
    public var kind: String
    public var began: Double
    public var messages: Int
    public var reason: String
  }

  /// Where the report stands in a state directory.
  public static func path(state: String) -> String { "\(state)/status.json" }

  /// - Returns: nil when no daemon has written one.
  public static func read(state: String) throws(FileError) -> StatusReport? {
    do {
      let descriptor = try Descriptor.open(path(state: state))
      let file = try descriptor.status()
      let bytes = try descriptor.readAll(limit: 4 << 20)
      guard var report = try? JSONDecoder().decode(StatusReport.self, from: Data(bytes)) else {
        return nil
      }
      // Set anew since it was written.
      if file.modified.seconds > report.written + 0.5 { report.written = file.modified.seconds }
      return report
    } catch {
      if error.isMissing { return nil }
      throw error
    }
  }

  /// Whether only the time of the look is another.
  func tellsTheSame(as other: StatusReport) -> Bool {
    var other = other
    other.written = written
    other.lastLook.seconds = lastLook.seconds
    return self == other
  }

  /// What was written holds still: the file's time says so, with one system call.
  /// - Returns: false when the file is not there.
  static func touch(state: String) -> Bool {
    utimensat(AT_FDCWD, path(state: state), nil, AT_SYMLINK_NOFOLLOW) == 0
  }

  func write(state: String) throws(FileError) {
    try Replacement.write(
      Escaping.json(of: self), to: Self.path(state: state), mode: 0o600, durable: false)
  }

  public func trouble(_ kind: String) -> Trouble? { troubles.first { $0.kind == kind } }

  /// One line for systemd's STATUS: counts first, then the storms.
  public var line: String {
    let others = troubles.filter { $0.kind != "queue" }.map { "\($0.what): \($0.why)" }
    if let blind = trouble("queue") {
      return (["Cannot watch: \(blind.why)"] + others).joined(separator: "; ")
    }
    var parts = ["\(queue.size), \(queue.unprocessed) unprocessed"]
    if let bouncing = queue.bouncing { parts[0] += ", \(bouncing) bouncing" }
    if queue.unread > 0 { parts[0] += ", \(queue.unread) still to be read" }
    if queue.senderIsRunning == false { parts.append("qmail-send is not running") }
    parts.append(
      storms.isEmpty
        ? "no storm"
        : storms.map { "storm #\($0.incident) \($0.kind), \($0.messages) messages" }
          .joined(separator: "; "))
    if activeBlocks > 0 { parts.append("\(activeBlocks) blocked") }
    if let damagedLedger { parts.append("the ledger was damaged, see \(damagedLedger)") }
    if quarantined > 0 { parts.append("\(quarantined) in quarantine") }
    if !others.isEmpty { parts = ["degraded"] + others + parts }
    return "\(mode): " + parts.joined(separator: "; ")
  }
}

extension Escaping {
  /// A value as one line of JSON, keys in order, with nothing in it that acts on a terminal.
  public static func json(of value: some Encodable) -> [UInt8] {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .withoutEscapingSlashes]
    return (try? encoder.encode(value)).map { json(Array($0)) } ?? []
  }
}
