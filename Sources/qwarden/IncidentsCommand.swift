import ArgumentParser
import Files
import Ledger
import Mail
import Response
import Storms

struct Incidents: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Show the storms that were seen, or one of them in full.",
    discussion: "Exits 1 when there is none.")

  @Argument(
    help: ArgumentHelp(
      "Show this incident with its evidence and what was done.", valueName: "number"))
  var number: Int?
  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption

  func run() throws {
    let ledger = try Ledger.reading(places)
    if let number {
      guard let storm = try ledger.incident(number) else {
        throw PlainFailure("there is no incident \(number)", Exit.nothingMatched)
      }
      try show(storm, ledger)
      return
    }
    let storms = try ledger.incidents(limit: 1000)
    if storms.isEmpty { throw PlainFailure("no incident so far", Exit.nothingMatched) }
    for storm in storms {
      if format.json {
        Output.line(storm.json.text)
      } else {
        let end = storm.ended.map { "ended \($0.iso8601)" } ?? "goes on"
        Output.line(
          "\(Readable.right(String(storm.incident), 4))  \(storm.began.iso8601)  \(Readable.pad(storm.kind.rawValue, 14))  \(Readable.right(String(storm.evidence.messages), 6)) messages  \(end)  \(storm.who)"
        )
      }
    }
  }

  private func show(_ storm: Storm, _ ledger: Ledger) throws {
    let actions = try ledger.actions(incident: storm.incident, limit: 1000).reversed()
    let kept = try ledger.quarantineCounts(incident: storm.incident)
    if format.json {
      var line = storm.json
      line.add("actions", actions.map(\.json))
      Output.line(line.text)
      return
    }
    let evidence = storm.evidence
    Output.line("incident \(storm.incident), \(storm.kind.rawValue)")
    Output.line(storm.reason)
    Output.line("")
    Output.line("began       \(storm.began.iso8601)")
    Output.line("last seen   \(storm.lastSeen.iso8601)")
    Output.line("ended       \(storm.ended.map(\.iso8601) ?? "goes on")")
    for offender in storm.offenders {
      Output.line("offender    \(offender.type) \(Escaping.terminal(offender.value))")
    }
    for victim in storm.victims { Output.line("victim      \(Escaping.terminal(victim))") }
    Output.line("messages    \(evidence.messages), \(evidence.listMarked) with list marks")
    Output.line(
      "recipients  \(evidence.recipients) in \(evidence.recipientDomains) domains: \(evidence.failed) failed, \(evidence.delivered) delivered, \(evidence.lingering) waiting"
    )
    for state in QuarantineRecord.State.allCases {
      if let count = kept[state], count > 0 {
        Output.line("quarantine  \(count) \(state.rawValue)")
      }
    }
    for advice in Advice.against(storm) {
      Output.line("advice      \(advice.sentence)\(advice.line.map { " [\($0)]" } ?? "")")
    }
    for action in actions { Output.line("\(action.first.iso8601)  \(action.sentence)") }
  }
}

extension Storm {
  /// The offenders in a few words.
  var who: String {
    offenders.isEmpty
      ? victims.prefix(2).map { "to \(Escaping.terminal($0))" }.joined(separator: ", ")
      : offenders.prefix(3).map { "\($0.type) \(Escaping.terminal($0.value))" }.joined(
        separator: ", ")
  }

  var json: JSONLine {
    var line = JSONLine()
    line.add("incident", incident)
    line.add("kind", kind.rawValue)
    line.add("began", began.seconds)
    line.add("last_seen", lastSeen.seconds)
    if let ended { line.add("ended", ended.seconds) } else { line.addNull("ended") }
    line.add(
      "offenders",
      offenders.map { offender in
        var item = JSONLine()
        item.add("type", offender.type)
        item.add("value", offender.value)
        return item
      })
    line.add("victims", victims)
    line.add("messages", evidence.messages)
    line.add("recipients", evidence.recipients)
    line.add("recipient_domains", evidence.recipientDomains)
    line.add("failed", evidence.failed)
    line.add("delivered", evidence.delivered)
    line.add("waiting", evidence.lingering)
    line.add("samples", samples)
    line.add("reason", reason)
    return line
  }
}

extension ActionRecord {
  var sentence: String {
    var text = "\(action) \(outcome.rawValue)"
    if !value.isEmpty { text += " \(Escaping.terminal(value))" }
    if times > 1 { text += ", \(times) times" }
    if !why.isEmpty { text += ": \(Escaping.terminal(why))" }
    return text
  }

  var json: JSONLine {
    var line = JSONLine()
    line.add("t", first.seconds)
    line.add("action", action)
    line.add("value", bytes: value)
    line.add("outcome", outcome.rawValue)
    line.add("times", times)
    line.add("why", why)
    return line
  }
}
