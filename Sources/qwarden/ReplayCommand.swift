import ArgumentParser
import Files
import Mail
import Policy
import Replay
import Response
import Storms

struct ReplayTraces: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "replay",
    abstract: "Say what the daemon would have seen and done on recorded traces.",
    discussion: """
      Runs the daemon's own detector and planner over each trace in virtual time. A trace is JSON Lines, gzipped or not, as "qwarden \
      record" writes it; --history takes what the daemon itself has kept. Nothing is changed. In observe mode an action says that only the \
      mode holds it; any other guard says so first. With --compare, only what the two policies decide differently is printed.
      """)

  @Argument(
    help: ArgumentHelp("The traces, one after another; - is standard input.", valueName: "trace"),
    completion: .file())
  var traces: [String] = []
  @Option(
    help: ArgumentHelp(
      "Replay what the daemon saw in this time, such as 7d: whole hours from STATE/history.",
      valueName: "duration"))
  var history: String?
  @Option(
    help: ArgumentHelp(
      "Another policy: print where its decisions differ from those of --policy.", valueName: "file"),
    completion: .file())
  var compare: String?
  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption

  func validate() throws {
    if traces.isEmpty == (history == nil) {
      throw ValidationError("Name traces, or --history and how far back.")
    }
  }

  func run() throws {
    let policy = try places.readPolicy()
    let other = try compare.map { try PolicyFile.load($0) }
    var isWhole = true
    for paths in try series() {
      let series = TraceSeries(paths, isHistory: history != nil)
      if let other {
        try compareOver(series, policy, other)
      } else {
        try replay(series, policy)
      }
      for damage in series.damage {
        isWhole = false
        Output.complain(damage)
      }
    }
    if !isWhole { throw ExitCode(Exit.badData) }
  }

  /// Each trace has a detector of its own; the history is one.
  private func series() throws -> [[String]] {
    guard let history else { return traces.map { [$0] } }
    let length = try SelectionOptions.duration(history, "--history")
    let folder = HistoryFolder(state: places.state)
    let paths = try folder.paths(since: WallClock.now() - length)
    if paths.isEmpty {
      throw PlainFailure(
        "\(folder.path): nothing of the last \(length.text) is kept; the daemon writes it, see 'history' in the policy",
        Exit.nothingMatched)
    }
    return [paths]
  }

  private func replay(_ series: TraceSeries, _ policy: Policy) throws {
    guard var replay = try series.header().map({ Replay(policy: policy, header: $0) }) else {
      return
    }
    var report = ReplayReport(history.map { "the last \($0)" } ?? series.path, series.host, policy)
    var output = Output.Buffer()
    while let observation = try series.next({ replay.rename($0) }) {
      report.count(observation)
      for event in replay.observe(observation) {
        if format.json {
          var line = event.json
          if traces.count > 1 { line.add("trace", series.path) }
          output.line(line)
        } else {
          for line in report.lines(for: event) { output.line(line) }
        }
      }
    }
    if !format.json { for line in report.sum(open: replay.storms) { output.line(line) } }
  }

  private func compareOver(_ series: TraceSeries, _ policy: Policy, _ other: Policy) throws {
    guard var comparison = try series.header().map({ Comparison(policy, other, header: $0) }) else {
      return
    }
    while let observation = try series.next({ comparison.rename($0) }) {
      comparison.observe(observation)
    }
    let report = ComparisonReport(comparison, places.policy, compare ?? "")
    for line in format.json ? report.json.map(\.text) : report.lines { Output.line(line) }
  }
}

extension TraceFile.Failure: CommandFailure {
  var exitCode: Int32 { Exit.badData }
}

/// A replay as an administrator reads it: a line for each storm and action, messages set aside as sums.
struct ReplayReport {
  private let path: String
  private let host: String
  private let policy: Policy
  private var first: Timestamp?
  private var last = Timestamp(nanoseconds: 0)
  private var arrivals = 0
  private var storms = 0
  private var blocks = Sums()
  private var quarantined = Sums()
  private var perStorm: [Int: Sums] = [:]

  /// What was done, and what was held by which guard.
  private struct Sums {
    var done = 0
    var held: [Guard: Int] = [:]
    var total: Int { done + held.values.reduce(0, +) }

    mutating func add(_ decision: PlannedAction.Decision) {
      switch decision {
      case .perform: done += 1
      case .hold(let by, _): held[by, default: 0] += 1
      }
    }

    /// `48 (held: 48 by observe-mode)`
    func text(_ noun: String) -> String {
      let why = held.sorted { $0.key.rawValue < $1.key.rawValue }
        .map { "\($0.value) by \($0.key.rawValue)" }.joined(separator: ", ")
      return Readable.count(total, noun) + (why.isEmpty ? "" : " (held: \(why))")
    }
  }

  init(_ path: String, _ host: String, _ policy: Policy) {
    self.path = path
    self.host = host
    self.policy = policy
  }

  mutating func count(_ observation: Observation) {
    if first == nil { first = observation.time }
    last = max(last, observation.time)
    if case .arrival = observation.event { arrivals += 1 }
  }

  mutating func lines(for event: ReplayEvent) -> [String] {
    let stamp = event.time.iso8601
    switch event.what {
    case .began(let storm):
      storms += 1
      return [
        "\(stamp)  storm \(storm.incident) began, \(storm.kind.rawValue): \(storm.reason)"
      ]
    case .changed(let storm):
      return [
        "\(stamp)  storm \(storm.incident) changed, \(storm.kind.rawValue): \(storm.reason)"
      ]
    case .ended(let storm):
      return [
        "\(stamp)  storm \(storm.incident) ended, \(storm.kind.rawValue): \(storm.evidence.messages) messages, \(setAside(storm.incident))"
      ]
    case .action(let action): return lines(for: action, stamp)
    }
  }

  private mutating func lines(for action: PlannedAction, _ stamp: String) -> [String] {
    switch action.action {
    case .alert:
      return action.advice.map { "    -> \($0.text)" }
    case .block(let entry, let lasting):
      blocks.add(action.decision)
      switch action.decision {
      case .perform:
        return ["\(stamp)  storm \(action.incident): \(entry) is blocked for \(lasting.text)"]
      case .hold(_, let why):
        return ["\(stamp)  storm \(action.incident): \(entry) is not blocked: \(why)"]
      }
    case .quarantine(let identity):
      quarantined.add(action.decision)
      let before = perStorm[action.incident] ?? Sums()
      perStorm[action.incident, default: Sums()].add(action.decision)
      switch action.decision {
      case .perform where before.done == 0:
        return [
          "\(stamp)  storm \(action.incident): its messages are set aside from #\(identity.id) on"
        ]
      case .hold(let by, let why) where before.held[by] == nil:
        return ["\(stamp)  storm \(action.incident): #\(identity.id) is not set aside: \(why)"]
      default: return []
      }
    }
  }

  private func setAside(_ incident: Int) -> String {
    (perStorm[incident] ?? Sums()).text("message") + " to set aside"
  }

  func sum(open: [Storm]) -> [String] {
    var lines = open.map { storm in
      "storm \(storm.incident) goes on at the end, \(storm.kind.rawValue): \(storm.evidence.messages) messages, \(setAside(storm.incident))"
    }
    let begin = first ?? last
    lines.append(
      "\(path): \(host), \(Readable.age(last.seconds(since: begin))) from \(begin.iso8601), \(policy.mode.rawValue) mode: \(arrivals) arrivals, \(Readable.count(storms, "storm")), \(blocks.text("block")), \(quarantined.text("message")) to set aside"
    )
    return lines
  }
}
