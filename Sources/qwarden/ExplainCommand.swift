import ArgumentParser
import Files
import Mail
import Replay
import Storms
import Watchdog

struct Explain: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "explain",
    abstract: "Say how a sender, a source or a message stands, and how far from a storm.",
    discussion: """
      Prints each threshold with the figures of detection.window; + is reached, - is not. A storm takes the floor, more than normal, and \
      one of failures, deferrals or volume. Then what would be done about it under the policy, and which guard holds the hand. It asks the \
      running daemon and exits 69 when none answers; with --trace it asks the end of a recorded trace instead. Exits 1 when nothing is known.
      """)

  @Argument(
    help: ArgumentHelp(
      "alice@example.com, @example.com, 192.0.2.7, a user's name, uid:33, or a message's number; sender:, domain:, client:, user: or id: before it says which.",
      valueName: "whom"))
  var whom: String
  @Option(
    help: ArgumentHelp(
      "Explain at the end of this trace; - is standard input.", valueName: "trace"),
    completion: .file())
  var trace: String?
  @Option(
    help: ArgumentHelp(
      "With --trace: at this moment of it, in unix seconds or such as 2026-11-24T18:26:34Z.",
      valueName: "time"))
  var at: String?
  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption

  func run() throws {
    guard let subject = Subject(whom) else {
      throw PlainFailure(
        "\(Escaping.terminal(whom)): write an address, a client, a user, uid:N or a message's number",
        Exit.usage)
    }
    if let trace {
      try explain(subject, trace)
    } else {
      if at != nil { throw PlainFailure("--at needs --trace", Exit.usage) }
      let lines = try Daemon(state: places.state).lines(.explain(whom, asJSON: format.json))
      for line in lines { Output.line(String(decoding: line, as: UTF8.self)) }
      // The daemon's answer about somebody unknown is two lines, and says so.
      if lines.contains(where: { Self.saysUnknown($0) }) { throw ExitCode(Exit.nothingMatched) }
    }
  }

  private static func saysUnknown(_ line: ArraySlice<UInt8>) -> Bool {
    line.starts(with: "unknown ".utf8)
      || line.first == UInt8(ascii: "{")
        && (try? JSONValue(line))?["known"] == .bool(false)
  }

  private func explain(_ subject: Subject, _ path: String) throws {
    let end = try at.map { text in
      guard let time = Timestamp(argument: text) else {
        throw PlainFailure(
          "--at \(Escaping.terminal(text)): write unix seconds, or a time such as 2026-11-24T18:26:34Z",
          Exit.usage)
      }
      return time
    }
    let trace = try TraceFile(path)
    var replay = Replay(policy: try places.readPolicy(), header: trace.header)
    while let observation = try trace.next() {
      if let end, observation.time > end { break }
      _ = replay.observe(observation)
    }
    let report = replay.report(on: subject)
    for line in format.json ? [report.json.text] : report.lines { Output.line(line) }
    if let damage = trace.damage { throw PlainFailure("\(trace.path): \(damage)", Exit.badData) }
    if report.isUnknown { throw ExitCode(Exit.nothingMatched) }
  }
}

extension Timestamp {
  /// Unix seconds, or `2026-11-24T18:26:34Z`.
  init?(argument text: String) {
    if let seconds = Double(text), seconds.isFinite {
      self.init(seconds: seconds)
      return
    }
    guard let time = Timestamp(iso8601: text), time.iso8601 == text else { return nil }
    self = time
  }
}
