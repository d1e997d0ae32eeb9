import ArgumentParser
import Files
import Ledger
import Mail
import QmailQueue

struct Quarantined: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "List the messages that were set aside.",
    discussion: """
      One line a message: number it had in the queue, when it was set aside, size, recipients, sender, where it came from, incident, state. \
      Exits 1 when there is none.
      """)

  @OptionGroup var chosen: SelectionOptions
  @Flag(help: "Also those that were released, that expired or were left in the queue after all.")
  var past = false
  @OptionGroup var places: Places
  @OptionGroup var format: JSONOption

  func run() throws {
    let ledger = try Ledger.reading(places)
    let meant = QuarantineSelection(
      selection: try chosen.selection(), incident: chosen.incident, ledger: ledger,
      places: places, now: WallClock.now())
    let states = Set(QuarantineRecord.State.allCases.filter { past || !$0.isFinal })
    var found = false
    var output = Output.Buffer()
    try meant.forEach(in: states) { record in
      if !found, !format.json { output.line(Self.heading) }
      found = true
      if format.json { output.line(record.json) } else { output.line(Self.row(record)) }
      return true
    }
    output.flush()
    if !found { throw PlainFailure("nothing is in quarantine that matches", Exit.nothingMatched) }
  }

  private static let heading =
    Readable.right("ID", 9) + "  " + Readable.pad("SET ASIDE", 20) + Readable.right("SIZE", 6)
    + Readable.right("RCPTS", 6) + "  " + Readable.pad("SENDER", 32) + " "
    + Readable.pad("FROM", 24) + " INCIDENT  STATE"

  private static func row(_ record: QuarantineRecord) -> String {
    Readable.right(String(record.identity.id), 9) + "  "
      + Readable.pad((record.marked ?? record.intended).iso8601, 20)
      + Readable.right(Readable.size(record.facts.size), 6)
      + Readable.right(String(record.facts.recipients), 6) + "  "
      + Readable.pad("<\(record.facts.sender)>", 32) + " "
      + Readable.pad(Readable.source(record.facts.source.source), 24) + " "
      + Readable.right(record.incident.map(String.init) ?? "-", 8) + "  \(record.state.rawValue)"
  }
}

extension QuarantineRecord {
  var json: JSONLine {
    var line = JSONLine()
    line.add("id", identity.id)
    line.add("birth", identity.birth.seconds)
    line.add("state", state.rawValue)
    if let incident { line.add("incident", incident) } else { line.addNull("incident") }
    line.add("sender", bytes: facts.sender.bytes)
    line.add("source", facts.source.source.json)
    line.add("size", Int(facts.size))
    line.add("recipients", facts.recipients)
    line.add("in_doubt", facts.inDoubt)
    line.add("subject", bytes: facts.subject)
    if let marked { line.add("set_aside", marked.seconds) } else { line.addNull("set_aside") }
    line.add("expires", expires.seconds)
    if let note { line.add("note", note) }
    return line
  }
}
