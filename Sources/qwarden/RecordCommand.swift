import ArgumentParser
import Files
import Glibc
import Mail
import Synchronization
import Watchdog

struct Record: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "record",
    abstract: "Write what happens in the queue and the log to a trace, for replay.",
    discussion: """
      Follows the queue and qmail-send's log as the daemon does, with or beside it, and changes nothing. The trace holds addresses and \
      subjects: keep it as you keep a mail log. It ends on SIGINT or SIGTERM, or when --for has run out; of one that was killed, what was \
      written until a second before can be read.
      """)

  @Option(
    name: [.short, .long],
    help: ArgumentHelp(
      "The trace, a new file; gzipped when its name ends in .gz. - is standard output.",
      valueName: "trace"), completion: .file())
  var output: String
  @Option(
    name: .customLong("for"),
    help: ArgumentHelp("End after this long, such as 10m.", valueName: "duration"))
  var length: String?
  @OptionGroup var places: Places

  private static let isStopped = Atomic(false)

  func run() throws {
    let recorder = try Recorder(
      qmail: places.qmail, policy: try places.readPolicy(), output: output)
    recorder.onNote = { Output.complain($0) }
    for number in [SIGINT, SIGTERM] {
      signal(number) { _ in Record.isStopped.store(true, ordering: .relaxed) }
    }
    let end = try length.map {
      WallClock.monotonic() + (try SelectionOptions.duration($0, "--for")).wholeNanoseconds
    }
    try recorder.run {
      Self.isStopped.load(ordering: .relaxed) || end.map { WallClock.monotonic() >= $0 } ?? false
    }
    if output != "-" {
      Output.line("\(output): \(recorder.arrivals) arrivals, \(recorder.lines) lines")
    }
  }
}
