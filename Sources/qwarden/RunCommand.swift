import ArgumentParser
import Dispatch
import Files
import Glibc
import Policy
import Systemd
import Watchdog

struct Run: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "run",
    abstract: "Watch the queue: the daemon that systemd runs.",
    discussion: """
      Events go to the journal, and as lines to standard output unless that is the journal too. SIGTERM and SIGINT end it, SIGHUP reads the \
      policy again, SIGUSR1 makes it look over all names at once and say how the queue stands.
      """)

  @OptionGroup var places: Places
  @Flag(help: "Look once, do what follows, say how the queue stands, and end.")
  var once = false
  @Flag(help: "Print events (with --once, the status) as JSON, one object a line.")
  var json = false

  func run() throws {
    FreedMemory.keepInFewPlaces()
    var sinks: [any EventSink] = [JournalSink()]
    if json {
      sinks.append(TerminalSink(.json))
    } else if !Journal.holdsStandardError {
      sinks.append(TerminalSink(Style.usual.isColoured ? .coloured : .plain))
    }
    let watchdog = try Watchdog(
      Watchdog.Configuration(
        places: places.forHands,
        policyPath: places.policy, policy: try PolicyFile.load(places.policy),
        version: Qwarden.version),
      sinks: sinks)
    if once {
      Status.show(watchdog.runOnce(), json: json)
      return
    }
    watchdog.start { Glibc.exit(0) }
    withExtendedLifetime(watchdog) { dispatchMain() }
  }
}

extension Watchdog.AlreadyRunning: CommandFailure {
  var exitCode: Int32 { Exit.cannotCreate }
}
