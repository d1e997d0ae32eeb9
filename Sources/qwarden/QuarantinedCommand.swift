import ArgumentParser
import Files
import Ledger
import Mail
import QmailQueue

struct Quarantined: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "quarantined",
    abstract: "List the messages that were set aside, or export them.",
    discussion: """
      One line a message: number it had in the queue, when it was set aside, size, recipients, sender, where it came from, incident, state \
      (kept, or leaving while qmail-send has yet to drop it from the queue). \
      Conditions, --headers, --ids, --count and --count-by are those of 'qwarden list'. 'qwarden show' shows one.

      --export writes the messages as they stand, without their envelopes, into a new mbox file (mboxrd) or into a Maildir, which is made where it is \
      missing; they stay in quarantine. No file is ever replaced, and a message that the Maildir has from an earlier export is passed over.

      \(SelectionOptions.patternHelp)

      Exits 1 when there is none, and 65 when the copy of one is damaged or gone: that is told, and the others are listed.
      """)

  @OptionGroup var chosen: SelectionOptions
  @Flag(help: "Also those that were released, that expired or were left in the queue after all.")
  var past = false
  @OptionGroup var listing: ListingOptions
  @Option(
    help: ArgumentHelp("Write the messages to mbox:FILE or maildir:DIR.", valueName: "mailbox"))
  var export: String?
  @OptionGroup var color: ColorOption
  @OptionGroup var format: JSONOption
  @OptionGroup var places: Places

  func validate() throws {
    if export != nil, listing.isGiven { throw ValidationError("--export stands alone") }
    if past, listing.headers || export != nil {
      throw ValidationError("of past messages there is no copy any more")
    }
  }

  func run() throws {
    let mailbox = try export.map { text in
      guard let mailbox = MailboxFormat(text) else {
        throw PlainFailure(
          "--export \(Escaping.terminal(text)): write it like mbox:FILE or maildir:DIR", Exit.usage)
      }
      return mailbox
    }
    let ledger = try Ledger.reading(places)
    let meant = try QuarantineSelection(
      selection: try chosen.selection(), incident: chosen.incident, ledger: ledger,
      places: places, now: WallClock.now())
    var found = 0
    switch mailbox {
    case .mbox(let path): found = try write(meant, to: try MboxFile(path))
    case .maildir(let path): found = try write(meant, to: try MaildirFolder(path))
    case nil: found = try list(meant)
    }
    try meant.unread.finish()
    if found == 0 {
      throw PlainFailure("nothing is in quarantine that matches", Exit.nothingMatched)
    }
  }

  /// - Returns: how many there are.
  private func list(_ meant: QuarantineSelection) throws -> Int {
    let states = Set(QuarantineRecord.State.allCases.filter { past || !$0.isFinal })
    var found = 0
    var table = CountTable()
    var output = Output.Buffer()
    try meant.forEach(in: states) { record in
      found += 1
      if let key = listing.countBy {
        var detail = key.detail.intersection(.recipients)
        // The rest is in the ledger.
        if key == .kind { detail.insert(.message) }
        let entry = try meant.copies.entry(record, detail)
        for value in key.values(of: entry, now: meant.now) { table.add(value) }
      } else if listing.idsOnly {
        output.line(format.json ? "{\"id\":\(record.identity.id)}" : "\(record.identity.id)")
      } else if listing.headers {
        guard let copy = try meant.copies.message(record) else { return true }
        let header = try OpenMessage(copy).header
        if format.json {
          output.line(record.json(header))
        } else {
          let text = EntryText(now: meant.now, style: color.style)
          output.append(text.block(try meant.copies.entry(record, .recipients), header).utf8)
        }
      } else if !listing.count {
        if found == 1, !format.json { output.line(Self.heading) }
        if format.json { output.line(record.json) } else { output.line(Self.row(record)) }
      }
      return true
    }
    if listing.count { output.line(format.json ? "{\"messages\":\(found)}" : String(found)) }
    if let key = listing.countBy, table.total > 0 {
      if format.json {
        for line in table.json(by: key) { output.line(line) }
      } else {
        output.append(table.text(by: key, color.style).utf8)
      }
    }
    output.flush()
    return found
  }

  private func write(_ meant: QuarantineSelection, to mailbox: any MailboxWriter) throws -> Int {
    var written = 0
    var passed = 0
    let states: Set<QuarantineRecord.State> = [.marked, .gone, .releasing, .releaseInDoubt]
    try meant.forEach(in: states) { record in
      // Released or expired since.
      guard let copy = try meant.copies.message(record) else { return true }
      if try mailbox.add(copy, from: record.facts.sender, record.identity) {
        written += 1
      } else {
        passed += 1
      }
      return true
    }
    if written > 0 { try mailbox.finish() }
    if format.json {
      var line = JSONLine()
      line.add("exported", written)
      line.add("already_there", passed)
      var output = Output.Buffer()
      output.line(line)
    } else if written + passed > 0 {
      Output.line(
        "exported \(Readable.count(written, "message"))"
          + (passed > 0 ? "; \(passed) were there already" : ""))
    }
    return written + passed
  }

  private static let heading =
    Readable.right("ID", 9) + "  " + Readable.pad("SET ASIDE", 20) + Readable.right("SIZE", 6)
    + Readable.right("RCPTS", 6) + "  " + Readable.pad("SENDER", 32) + " "
    + Readable.pad("FROM", 24) + " INCIDENT  STATE"

  private static func row(_ record: QuarantineRecord) -> String {
    Readable.right(String(record.identity.id), 9) + "  "
      + Readable.pad((record.marked ?? record.intended).iso8601, 20)
      + Readable.column(Readable.size(record.facts.size), 6)
      + Readable.column(String(record.facts.recipients), 6) + "  "
      + Readable.pad("<\(record.facts.sender)>", 32) + " "
      + Readable.pad(record.facts.source.text, 24) + " "
      + Readable.right(record.incident.map(String.init) ?? "-", 8) + "  \(record.state.word)"
  }
}

extension QuarantineRecord.State {
  /// For people: what is gone from the queue is there, and kept. JSON has the ledger's own word.
  var word: String {
    switch self {
    case .marked: "leaving"
    case .gone: "kept"
    case .releaseInDoubt: "in doubt"
    case .abandoned: "not taken out"
    default: rawValue
    }
  }
}

extension QuarantineRecord {
  var json: JSONLine { json() }

  /// - Parameter header: of its copy, to be told decoded; without it the Subject stands as it came.
  func json(_ header: MessageHeader? = nil) -> JSONLine {
    var line = JSONLine()
    line.add("id", identity.id)
    line.add("birth", identity.birth.seconds)
    line.add("state", state.rawValue)
    if let incident { line.add("incident", incident) } else { line.addNull("incident") }
    line.add("sender", bytes: facts.sender.bytes)
    line.add("source", facts.source.json)
    line.add("size", Int(facts.size))
    line.add("recipients", facts.recipients)
    line.add("in_doubt", facts.inDoubt)
    if header == nil { line.add("subject", bytes: facts.subject) }
    if let marked { line.add("set_aside", marked.seconds) } else { line.addNull("set_aside") }
    line.add("expires", expires.seconds)
    if let note { line.add("note", note) }
    if let header { line.add(header) }
    return line
  }
}
