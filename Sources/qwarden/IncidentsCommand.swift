import ArgumentParser
import Files
import Glibc
import Ledger
import Mail
import Policy
import Response
import Storms

struct Incidents: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "incidents",
    abstract: "Show the storms that were seen, or one of them in full.",
    discussion: """
      One in full has the evidence against the thresholds of the policy, what was done or held and why, what to type to undo it, and what \
      else helps. --html writes that as a page for people, with the queue's length, arrivals, failures and actions over time: one file \
      without scripts, to be opened, mailed or printed. It names senders and users. Exits 1 when there is none.
      """)

  @Argument(
    help: ArgumentHelp(
      "Show this incident with its evidence and what was done.", valueName: "number"))
  var number: Int?
  @Option(
    help: ArgumentHelp(
      "Write the incident as an HTML page to this file; - is standard output.", valueName: "file"),
    completion: .file(extensions: ["html"]))
  var html: String?
  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption

  func validate() throws {
    if html != nil, number == nil {
      throw ValidationError("--html is for one incident: qwarden incidents N --html FILE")
    }
    if html != nil, format.json { throw ValidationError("--html and --json exclude each other") }
  }

  func run() throws {
    let ledger = try Ledger.reading(places)
    if let number {
      guard let dossier = try IncidentDossier(number, ledger, settings) else {
        throw PlainFailure("there is no incident \(number)", Exit.nothingMatched)
      }
      if let html {
        let page = IncidentPage(
          dossier: dossier, host: host, version: Qwarden.version, now: WallClock.now())
        if html == "-" { return Output.write(page.html) }
        try Replacement.allow(html)
        let mask = umask(0o077)
        umask(mask)
        try Replacement.write(
          Array(page.html.utf8), to: html, mode: 0o666 & ~UInt32(mask), durable: false)
      } else if format.json {
        Output.line(dossier.json.text)
      } else {
        for line in dossier.text { Output.line(line) }
      }
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

  /// The thresholds of the policy as it is now; the shipped ones where there is none that can be used.
  private var settings: DetectorSettings {
    (try? PolicyFile.load(places.policy))?.detection ?? DetectorSettings()
  }

  /// How this server calls itself in mail.
  private var host: String {
    let me = try? Descriptor.open("\(places.qmail)/control/me", .following).readAll(limit: 4096)
    return Text.decode(me?.prefix { $0 > 0x20 } ?? [])
  }
}

extension IncidentDossier {
  /// For a terminal.
  var text: [String] {
    var lines = ["incident \(storm.incident), \(storm.kind.rawValue)", storm.reason, ""]
    func add(_ name: String, _ text: String) { lines.append(Readable.pad(name, 21) + text) }
    add("began", storm.began.iso8601)
    add("last seen", storm.lastSeen.iso8601)
    add("ended", storm.ended.map(\.iso8601) ?? "goes on")
    for offender in storm.offenders {
      add("offender", "\(offender.type) \(Escaping.terminal(offender.value))")
    }
    for victim in storm.victims { add("victim", Escaping.terminal(victim)) }
    for measure in evidence {
      add(
        measure.name,
        measure.threshold.isEmpty ? measure.value : "\(measure.value)  (\(measure.threshold))")
    }
    for text in quarantine { add("quarantine", text) }
    for advice in Advice.against(storm) { add("advice", advice.text) }
    if !actions.isEmpty { lines.append("") }
    for action in actions {
      var short = action
      short.why = Self.short(action.why)
      lines.append("\(action.first.iso8601)  \(short.sentence)")
      if let undo = undoing(action) { lines.append("    to undo it: \(undo)") }
    }
    return lines
  }

  var json: JSONLine {
    var line = storm.json
    line.add(
      "evidence",
      evidence.map { measure in
        var item = JSONLine()
        item.add("measure", measure.name)
        item.add("found", measure.value)
        item.add("against", measure.threshold)
        return item
      })
    line.add(
      "advice",
      Advice.against(storm).map { advice in
        var item = JSONLine()
        item.add("lever", advice.lever.rawValue)
        item.add("sentence", advice.sentence)
        if let typed = advice.line { item.add("line", typed) } else { item.addNull("line") }
        return item
      })
    line.add(
      "actions",
      actions.map { action in
        var item = action.json
        if let undo = undoing(action) { item.add("undo", undo) } else { item.addNull("undo") }
        return item
      })
    line.add("set_aside", setAside)
    line.add(
      "timeline",
      points.map { point in
        var item = JSONLine()
        item.add("t", point.time.seconds)
        item.add("waiting", point.waiting)
        item.add("leaving", point.leaving)
        item.add("messages", point.messages)
        item.add("failed", point.failed)
        item.add("delivered", point.delivered)
        item.add("set_aside", point.setAside)
        return item
      })
    return line
  }
}

extension Storm {
  /// The offenders in a few words; of a storm without any, whom it floods, or else what happens.
  var who: String {
    let names =
      offenders.isEmpty
      ? victims.prefix(2).map { "to \(Escaping.terminal($0))" }
      : offenders.prefix(3).map { "\($0.type) \(Escaping.terminal($0.value))" }
    if !names.isEmpty { return names.joined(separator: ", ") }
    return reason.firstRange(of: " since ").map { String(reason[..<$0.lowerBound]) } ?? reason
  }

  var json: JSONLine {
    var line = JSONLine()
    line.add("incident", incident)
    line.add("kind", kind.rawValue)
    line.add("began", began.seconds)
    line.add("last_seen", lastSeen.seconds)
    if let ended { line.add("ended", ended.seconds) } else { line.addNull("ended") }
    line.add("offenders", offenders.map(\.json))
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
