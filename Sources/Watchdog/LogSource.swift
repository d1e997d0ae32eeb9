import Files
import Mail
import Policy
import QmailQueue
import Systemd

/// qmail-send's log as the watchdog follows it: found by the policy, in files or in the journal, resumed where the last run stopped.
///
/// A log that is not there or cannot be read ends nothing: it is told once, and looked for again.
final class LogSource {
  /// How often the place reached is saved, in seconds.
  private static let savePause = 10.0
  /// Lines older than this at the start are history: what they would call for is over.
  private static let longestPause = Duration.seconds(3600)
  /// Where nothing was written for so long, no qmail-send writes any more.
  private static let stale = Duration.seconds(7 * 86_400)

  private enum Way {
    case files(LogFollower)
    case journal(JournalFollower)
  }

  private let policy: Policy.Log
  /// Where the place reached is kept; nil for one who reads from now on and remembers nothing.
  private let path: String?
  private var way: Way?
  private var notes: [String] = []
  private var savedAt: Timestamp
  private var saved: LogPosition?
  private var total = LogStatistics()
  private var lastLine: Timestamp?
  private var isBehind = false
  private var told: Set<String> = []
  /// Messages seen by each of queue and log; counted while a log is followed.
  private(set) var coverage: Coverage?
  /// What a release put back, by ID: the process that queued it.
  private var released: [UInt64: Int] = [:]

  /// - Parameter state: the state directory, where the place reached is kept; nil: begin now and keep nothing.
  init(_ policy: Policy.Log, state: String?, at now: Timestamp) {
    self.policy = policy
    path = state.map { "\($0)/log-position" }
    saved = path.flatMap(LogPosition.read)
    savedAt = now
    open(at: now)
  }

  var isFollowed: Bool { way != nil }

  /// Readable when the log changed; nil where there is no log, or nothing tells of changes.
  var descriptor: Int32? {
    switch way {
    case .files(let follower): follower.eventDescriptor
    case .journal(let follower): follower.reader.descriptor
    case nil: nil
    }
  }

  /// Takes what made ``descriptor`` readable.
  func acknowledge() {
    switch way {
    case .files(let follower): follower.acknowledge()
    case .journal(let follower): follower.reader.acknowledge()
    case nil: break
    }
  }

  /// Looks again for a log that was not found.
  /// - Returns: whether one is followed now that was not before.
  func retry(at now: Timestamp) -> Bool {
    guard way == nil, policy.source != .none else { return false }
    open(at: now)
    return way != nil
  }

  /// Takes in what was written.
  func read(at now: Timestamp) -> LogReport {
    var report: LogReport
    switch way {
    case .files(let follower): report = follower.read(at: now)
    case .journal(let follower): report = follower.read(at: now)
    case nil: report = LogReport()
    }
    total += report.statistics
    lastLine = report.observations.last?.time ?? lastLine
    isBehind = report.hasMore
    if report.statistics.cut > 0 {
      report.notes.append(
        "the log has lines that were cut: too long, or the beginning of a syslog line was lost")
    }
    report.notes = (notes + report.notes).filter { told.insert($0).inserted }
    notes = []
    if told.count > 1000 { told = [] }
    return report
  }

  /// What waits for its partner by the old clock finds none by the new one.
  func clockWasSet(at now: Timestamp) {
    savedAt = now
    lastLine = nil
    coverage?.clockWasSet(at: now)
  }

  /// Counts what was seen, on its way to the detector.
  func count(_ observation: Observation) { coverage?.take(observation) }

  /// A release of ours, as the queue shows it.
  func noteRelease(_ entry: Entry) {
    if released.count > 10_000 { released = [:] }
    if let pid = entry.queuedBy { released[entry.identity.id] = pid }
  }

  /// Whether the log tells here of a release of ours that the queue has shown before.
  func isRelease(_ line: SendLogLine) -> Bool {
    guard case .info(let id, _, _, let pid, _) = line, released[id] == pid else { return false }
    released[id] = nil
    return true
  }

  /// Saves the place reached, every so often or now.
  func save(at now: Timestamp, isLast: Bool = false) throws(FileError) {
    guard isLast || abs(now.seconds(since: savedAt)) >= Self.savePause else { return }
    savedAt = now
    let position: LogPosition?
    switch way {
    case .files(let follower): position = follower.position
    case .journal(let follower): position = follower.position
    case nil: position = nil
    }
    guard let path, let position, position != saved else { return }
    try position.write(path)
    saved = position
  }

  /// For the status; nil when the policy wants no log.
  func status(at now: Timestamp) -> StatusReport.Log? {
    if policy.source == .none { return nil }
    var status = StatusReport.Log()
    switch way {
    case .files(let follower):
      status.source = follower.source
      status.unread = follower.unread
    case .journal(let follower): status.source = follower.source
    case nil: return status
    }
    status.behind = isBehind ? max(0, now.seconds(since: lastLine ?? now)) : 0
    status.lastLine = lastLine?.seconds
    status.lines = total.lines
    status.gaps = total.gaps
    if let coverage {
      status.seenByBoth = coverage.both
      status.seenByQueueOnly = coverage.queueOnly
      status.seenByLogOnly = coverage.logOnly
    }
    return status
  }

  // MARK: Finding it

  private func open(at now: Timestamp) {
    let oldest = now - Self.longestPause
    do throws(JournalReader.Failure) {
      switch policy.source {
      case .none: way = nil
      case .path(let path): follow(path, oldest)
      case .unit(let unit): try follow(.unit(unit), oldest, now)
      case .journal: try follow(.identifier(policy.tag), oldest, now)
      case .auto:
        switch UsualLog.find(tag: policy.tag, preferring: saved?.source, since: now - Self.stale) {
        case .file(let path): follow(path, oldest)
        case .journal(let selection): try follow(selection, oldest, now)
        case nil: break
        }
      }
    } catch {
      notes.append("qmail-send's log is not followed: \(error)")
    }
    if way != nil { coverage = Coverage(since: now) }
  }

  private func follow(_ path: String, _ oldest: Timestamp) {
    way = .files(LogFollower(path: path, tag: policy.tag, resuming: saved, oldest: oldest))
  }

  private func follow(_ selection: JournalReader.Selection, _ oldest: Timestamp, _ now: Timestamp)
    throws(JournalReader.Failure)
  {
    way = .journal(
      try JournalFollower(selection, tag: policy.tag, resuming: saved, oldest: oldest, at: now))
  }
}
