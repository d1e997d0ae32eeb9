import ArgumentParser
import Files
import Ledger
import Mail
import QmailQueue
import Synchronization

struct Show: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "show",
    abstract: "Show messages: envelope, decoded header, parts and text.",
    discussion: """
      Control bytes and other invisible characters are shown as \\xNN or \\u{…}; attachments are named and not opened. Messages that qmail-send \
      has not taken in yet are shown too, and those in quarantine, which say so, and what had failed before they were set aside: of that nobody gets a bounce. --raw writes the bytes as they are: never to a terminal you want to keep.

      Exits 1 when one of the numbers is neither in the queue nor in quarantine, 65 when its copy is damaged or gone, and 77 when this user \
      may not read it.
      """)

  @Argument(help: ArgumentHelp("Queue numbers.", valueName: "id"))
  var ids: [UInt64]
  @Flag(help: "Show the header as it stands, and nothing else.")
  var headers = false
  @Flag(help: "Write the message's bytes as they are.")
  var raw = false
  @OptionGroup var color: ColorOption
  @OptionGroup var json: JSONOption
  @OptionGroup var places: Places

  func validate() throws {
    if [headers, raw, json.json].count(where: { $0 }) > 1 {
      throw ValidationError("only one of --headers, --raw and --json can be given")
    }
  }

  func run() throws {
    let scanner = QueueScanner(layout: try QueueLayout.read(qmail: places.qmail))
    let printer = MessagePrinter(
      raw ? .raw : headers ? .headers : json.json ? .json : .view(color.style))
    let unread = Unread()
    for id in ids {
      let isWritten = Mutex(false)
      let look = EntryLook<[UInt8]>(.all) { entry, message in
        guard let message else { return nil }
        // Asked again because the message has left meanwhile: what was written is whole.
        if raw, isWritten.withLock({ $0 }) { return [] }
        isWritten.withLock { $0 = true }
        return printer.text(entry, message)
      }
      let isFound = Mutex(false)
      try scanner.forEach(look, ids: [id]) { findings in
        for text in findings.items { printer.print(text) }
        unread.complain(findings.damaged, exit: Exit.nothingMatched)
        isFound.withLock { $0 = !findings.items.isEmpty || !findings.damaged.isEmpty }
        return true
      }
      if isFound.withLock({ $0 }) { continue }
      if try !showQuarantined(id, printer, unread) {
        Output.complain("message \(id): neither in the queue nor in quarantine")
        unread.note(Exit.nothingMatched)
      }
    }
    try unread.finish()
  }

  /// The copies of this number that are kept; there may be several, because qmail uses numbers again.
  /// - Returns: whether there was one.
  private func showQuarantined(_ id: UInt64, _ printer: MessagePrinter, _ unread: Unread) throws
    -> Bool
  {
    let ledger: Ledger
    do throws(LedgerError) { ledger = try Ledger.reading(places) } catch {
      if error.exitCode == Exit.noPermission { throw error }
      // No ledger: nothing was ever set aside.
      return false
    }
    let copies = QuarantineCopies(places, ledger)
    var isFound = false
    for record in try ledger.quarantine(id: id) {
      do {
        guard let copy = try copies.message(record) else { continue }
        isFound = true
        let message = try OpenMessage(copy)
        printer.print(
          printer.text(
            try copies.entry(record, .all), message, of: record, failures: copies.failures(record)))
      } catch let error as CopyError {
        isFound = true
        unread.complain(error)
      }
    }
    return isFound
  }
}

/// Prints messages one after the other, an empty line between those that are for people.
private final class MessagePrinter: Sendable {
  enum Form {
    case view(Style)
    case headers, json, raw
  }

  private static let longestMessage = 32 << 20
  private let form: Form
  private let now = WallClock.now()
  private let isFirst = Mutex(true)

  init(_ form: Form) { self.form = form }

  /// Its text in this form; bytes as they are go out at once, while the file is open, and are no text.
  func text(
    _ entry: Entry, _ message: OpenMessage, of record: QuarantineRecord? = nil,
    failures: [UInt8] = []
  ) -> [UInt8] {
    func view(_ style: Style) -> MessageView {
      let bytes = message.contents(limit: Self.longestMessage)
      return MessageView(
        entry: entry, header: message.header, message: bytes,
        isCut: message.size > Int64(bytes.count), now: now, style: style, quarantine: record,
        failures: failures)
    }
    switch form {
    case .raw:
      Output.write(message.header.bytes)
      message.forEachBodyPiece { piece in
        Output.write(piece.copied(0..<piece.count))
        return true
      }
      return []
    case .headers:
      let header = message.header
      return Array(header.fields.map { MessageView.lines(header.bytes[$0.lines]) }.joined().utf8)
    case .json: return view(Style(isColoured: false)).json.closed + [UInt8(ascii: "\n")]
    case .view(let style): return Array(view(style).text.utf8)
    }
  }

  func print(_ text: [UInt8]) {
    let isFirst = isFirst.withLock { first in
      defer { first = false }
      return first
    }
    switch form {
    case .view, .headers: if !isFirst { Output.line("") }
    case .json, .raw: break
    }
    Output.write(text)
  }
}
