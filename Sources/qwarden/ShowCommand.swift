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

      Exits 1 when one of the numbers is neither in the queue nor in quarantine, and 77 when this user may not read it.
      """)

  private static let longestMessage = 32 << 20

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
    let (now, style) = (WallClock.now(), color.style)
    let (headers, raw, json) = (headers, raw, json.json)
    let unread = Unread()
    for (place, id) in ids.enumerated() {
      let isWritten = Mutex(false)
      let look = EntryLook<[UInt8]>(.all) { entry, message in
        guard let message else { return nil }
        if raw {
          // Asked again because the message has left meanwhile: what was written is whole.
          if isWritten.withLock({ $0 }) { return [] }
          isWritten.withLock { $0 = true }
          Self.write(message)
          return []
        }
        if headers {
          let header = message.header
          let lines = header.fields.map { MessageView.lines(header.bytes[$0.lines]) }
          return Array(lines.joined().utf8)
        }
        let bytes = message.contents(limit: Self.longestMessage)
        let view = MessageView(
          entry: entry, header: message.header, message: bytes,
          isCut: message.size > Int64(bytes.count), now: now, style: style)
        let text = json ? view.json.closed + [UInt8(ascii: "\n")] : Array(view.text.utf8)
        return place > 0 && !json ? [UInt8(ascii: "\n")] + text : text
      }
      let isFound = Mutex(false)
      try scanner.forEach(look, ids: [id]) { findings in
        for text in findings.items { Output.write(text, to: 1) }
        unread.complain(findings.damaged, exit: Exit.nothingMatched)
        isFound.withLock { $0 = !findings.items.isEmpty || !findings.damaged.isEmpty }
        return true
      }
      if isFound.withLock({ $0 }) { continue }
      if try !showQuarantined(id, isFirst: place == 0, unread) {
        Output.complain("message \(id): neither in the queue nor in quarantine")
        unread.note(Exit.nothingMatched)
      }
    }
    try unread.finish()
  }

  /// The copies of this number that are kept; there may be several, because qmail uses numbers again.
  /// - Returns: whether there was one.
  private func showQuarantined(_ id: UInt64, isFirst: Bool, _ unread: Unread) throws -> Bool {
    let ledger: Ledger
    do throws(LedgerError) { ledger = try Ledger.reading(places) } catch {
      if error.exitCode == Exit.noPermission { throw error }
      // No ledger: nothing was ever set aside.
      return false
    }
    let copies = QuarantineCopies(places, ledger)
    var found = 0
    for record in try ledger.quarantine(id: id) {
      let body: QuarantinedBody?
      do { body = try copies.message(record) } catch let error as CopyError {
        found += 1
        unread.complain(error)
        continue
      }
      guard let copy = body else { continue }
      let message = try OpenMessage(copy)
      found += 1
      if raw {
        Self.write(message)
      } else if headers {
        for field in message.header.fields {
          Output.write(Array(MessageView.lines(message.header.bytes[field.lines]).utf8), to: 1)
        }
      } else {
        let bytes = message.contents(limit: Self.longestMessage)
        let view = MessageView(
          entry: try copies.entry(record, .all), header: message.header, message: bytes,
          isCut: message.size > Int64(bytes.count), now: WallClock.now(), style: color.style,
          quarantine: record, failures: copies.failures(record))
        if json.json {
          Output.write(view.json.closed + [UInt8(ascii: "\n")], to: 1)
        } else {
          if found > 1 || !isFirst { Output.line("") }
          Output.write(Array(view.text.utf8), to: 1)
        }
      }
    }
    return found > 0
  }

  /// The bytes from the file while it is open; nothing is kept in memory.
  private static func write(_ message: OpenMessage) {
    Output.write(message.header.bytes, to: 1)
    message.forEachBodyPiece { piece in
      Output.write(piece.copied(0..<piece.count), to: 1)
      return true
    }
  }
}
