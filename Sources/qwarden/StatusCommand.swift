import ArgumentParser
import Files
import Mail
import Watchdog

struct Status: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "status",
    abstract: "Say how the daemon and the queue stand.",
    discussion:
      "Asks the daemon; where none answers, says how it stood when it last wrote that down. Exits 69 when no daemon runs, or it does not answer."
  )

  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption

  func run() throws {
    guard let daemon = try DaemonState.read(places.state) else {
      throw PlainFailure(
        "\(StatusReport.path(state: places.state)): no daemon has run with this state directory; start it with 'systemctl start qwarden'",
        Exit.noQueue)
    }
    let report = daemon.report
    Self.show(report, json: format.json)
    guard !daemon.isRunning || daemon.silence?.kind == .silent else { return }
    throw PlainFailure(
      "the daemon (pid \(report.pid)) \(daemon.isRunning ? "does not answer" : "is not running"); this is how it stood \(Readable.age(WallClock.now().seconds - report.written)) ago",
      Exit.noQueue)
  }

  static func show(_ report: StatusReport, json: Bool) {
    if json { return Output.line(String(decoding: Escaping.json(of: report), as: UTF8.self)) }
    let now = WallClock.now().seconds
    func ago(_ time: Double) -> String { Readable.age(now - time) }
    Output.line(
      "qwarden \(report.version), pid \(report.pid), up \(Readable.age(report.written - report.started)), \(report.mode) mode, watching \(report.qmail)"
    )
    for trouble in report.troubles {
      Output.line("trouble:    \(trouble.what), since \(ago(trouble.since)): \(trouble.why)")
    }
    var queue =
      "\(report.queue.size), \(report.queue.unprocessed) not yet preprocessed"
    for (count, what) in [
      (report.queue.local, "local"), (report.queue.remote, "remote"),
      (report.queue.bouncing, "bouncing"), (report.queue.doneOnly, "leaving"),
    ] {
      if let count { queue += ", \(count) \(what)" }
    }
    if report.queue.unread > 0 { queue += ", \(report.queue.unread) still to be read" }
    Output.line("queue:      \(queue)")
    if let running = report.queue.senderIsRunning {
      Output.line("qmail-send: \(running ? "running" : "not running")")
    }
    let milliseconds = Int((report.lastLook.seconds * 1000).rounded())
    let missed =
      report.lastLook.missed > 0 ? ", \(report.lastLook.missed) gone before they were read" : ""
    Output.line(
      "last look:  \(ago(report.written)) ago, \(report.lastLook.new) new, \(report.lastLook.gone) gone, \(milliseconds) ms; \(report.lastLook.seen) messages read since the start\(missed)"
    )
    if let log = report.log { Output.line("log:        \(Self.text(log, now: now))") }
    Output.line("storms:     \(report.storms.isEmpty ? "none" : String(report.storms.count))")
    for storm in report.storms {
      Output.line("  incident \(storm.incident), \(storm.kind): \(storm.reason)")
    }
    Output.line("blocks:     \(report.activeBlocks)")
    Output.line(
      "quarantine: \(report.quarantined) messages"
        + (report.quarantinePending > 0 ? ", \(report.quarantinePending) to come" : ""))
    for note in report.notes { Output.line("note:       \(note)") }
  }

  private static func text(_ log: StatusReport.Log, now: Double) -> String {
    guard let source = log.source else { return "none found" }
    var text = "\(source), \(log.lines) lines"
    if let last = log.lastLine { text += ", the last \(Readable.age(now - last)) ago" }
    if log.behind > 0 { text += ", \(Readable.age(log.behind)) behind" }
    if log.gaps > 0 { text += ", \(log.gaps) gaps" }
    let seen = log.seenByBoth + log.seenByQueueOnly + log.seenByLogOnly
    if seen > 0 {
      func share(_ count: Int) -> String {
        // Rounded down, so that 100 % is all of them.
        let tenths = count * 1000 / seen
        return "\(tenths / 10).\(tenths % 10) %"
      }
      text +=
        "; of \(seen) messages the queue showed \(share(log.seenByBoth + log.seenByQueueOnly)), the log told of \(share(log.seenByBoth + log.seenByLogOnly))"
    }
    return text
  }
}
