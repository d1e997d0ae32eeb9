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
      record" writes it. Nothing is changed. In observe mode an action says that only the mode holds it; any other guard says so first.
      """)

  @Argument(
    help: ArgumentHelp("The traces, one after another; - is standard input.", valueName: "trace"),
    completion: .file())
  var traces: [String]
  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption

  func run() throws {
    let policy = try readPolicy()
    var isWhole = true
    for path in traces {
      let trace = try TraceFile(path)
      var replay = Replay(policy: policy, header: trace.header)
      var report = ReplayReport(trace, policy)
      var output = Output.Buffer()
      while let observation = try trace.next() {
        report.count(observation)
        for event in replay.observe(observation) {
          if format.json {
            var line = event.json
            if traces.count > 1 { line.add("trace", trace.path) }
            output.line(line)
          } else {
            for line in report.lines(for: event) { output.line(line) }
          }
        }
      }
      if !format.json { for line in report.sum(open: replay.storms) { output.line(line) } }
      output.flush()
      if let damage = trace.damage {
        isWhole = false
        Output.complain("\(trace.path): \(damage)")
      }
    }
    if !isWhole { throw ExitCode(Exit.badData) }
  }

  /// The policy named, or the installed one; where none is installed, what the shipped one says.
  private func readPolicy() throws -> Policy {
    let isThere = (try? FileStatus.of(places.policy, following: true)) != nil
    return isThere || places.policy != Places.usualPolicy
      ? try PolicyFile.load(places.policy) : Policy()
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
      return "\(total) \(noun)\(total == 1 ? "" : "s")" + (why.isEmpty ? "" : " (held: \(why))")
    }
  }

  init(_ trace: TraceFile, _ policy: Policy) {
    path = trace.path
    host = trace.header.host
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
      return action.advice.map { advice in
        "    -> \(advice.sentence)" + (advice.line.map { " [\($0)]" } ?? "")
      }
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
      "\(path): \(host), \(Readable.age(last.seconds(since: begin))) from \(begin.iso8601), \(policy.mode.rawValue) mode: \(arrivals) arrivals, \(storms) storm\(storms == 1 ? "" : "s"), \(blocks.text("block")), \(quarantined.text("message")) to set aside"
    )
    return lines
  }
}
