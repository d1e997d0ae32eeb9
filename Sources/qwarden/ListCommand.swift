import ArgumentParser
import Files
import Mail
import QmailQueue
import Selection
import Synchronization

struct List: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "list",
    abstract: "List the messages in the queue.",
    discussion: """
      One line a message: number, age, size, recipients still to try of all, sender, where it came from, and the first recipient. \
      Messages that qmail-send has not taken in yet are listed too, except with --format qread, which prints what qmail-qread prints.

      \(SelectionOptions.patternHelp)

      Exits 1 when nothing matched, and 77 when this user may not read some of it.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable {
    case text
    case qread
    case json
  }

  @OptionGroup var chosen: SelectionOptions
  @Option(help: "How to print; qread is as qmail-qread does.")
  var format: Format = .text
  @OptionGroup var listing: ListingOptions
  @OptionGroup var color: ColorOption
  @OptionGroup var json: JSONOption
  @OptionGroup var places: Places

  func validate() throws {
    if format == .qread, listing.isGiven || json.json {
      throw ValidationError("--format qread stands alone")
    }
  }

  func run() throws {
    let scanner = QueueScanner(layout: try QueueLayout.read(qmail: places.qmail))
    let selection = try chosen.selection(places)
    let messages = Listing(scanner: scanner, selection: selection, now: WallClock.now())
    let isJSON = json.json || format == .json
    let isFound =
      if let key = listing.countBy {
        try messages.count(by: key, json: isJSON, color.style)
      } else if listing.count {
        try messages.count(json: isJSON)
      } else if format == .qread, selection.isEmpty {
        try messages.qread()
      } else {
        try messages.print(form(isJSON))
      }
    try messages.unread.finish()
    if !isFound, !selection.isEmpty { throw ExitCode(Exit.nothingMatched) }
  }

  private func form(_ isJSON: Bool) -> Listing.Form {
    if listing.idsOnly { return .ids(json: isJSON) }
    if isJSON { return .json(headers: listing.headers) }
    if format == .qread { return .qread }
    return listing.headers ? .headers(color.style) : .rows(color.style)
  }
}

/// What `list` and `quarantined` print of the messages that are meant; a line each without any of these.
struct ListingOptions: ParsableArguments {
  @Flag(help: "Show From, To, Cc, Subject, Date and Size of each message.")
  var headers = false
  @Flag(name: .customLong("ids"), help: "Print the numbers only, one a line.")
  var idsOnly = false
  @Flag(help: "Print how many there are.")
  var count = false
  @Option(
    help: ArgumentHelp(
      "Count by this, largest first; by recipient-domain it counts recipients still to be tried.",
      valueName: "key"))
  var countBy: CountKey?

  private var given: Int { [headers, idsOnly, count, countBy != nil].count { $0 } }
  var isGiven: Bool { given > 0 }

  func validate() throws {
    if given > 1 {
      throw ValidationError("only one of --headers, --ids, --count and --count-by can be given")
    }
  }
}

/// The messages that are meant, printed or counted while the queue is read. Each returns whether there was any.
struct Listing {
  enum Form {
    case rows(Style)
    case headers(Style)
    case qread
    case json(headers: Bool)
    case ids(json: Bool)
  }

  let scanner: QueueScanner
  let selection: Selection
  let now: Timestamp
  let unread = Unread()

  func qread() throws -> Bool {
    let found = Mutex(false)
    let isWhole = try scanner.qread { piece in
      found.withLock { $0 = $0 || !piece.isEmpty }
      Output.write(piece)
      return true
    }
    if !isWhole {
      Output.complain("not all messages can be read: run as root or as user qmails")
      unread.note(Exit.noPermission)
    }
    return found.withLock { $0 }
  }

  func print(_ form: Form) throws -> Bool {
    switch form {
    case .rows(let style):
      let text = EntryText(now: now, style: style)
      Output.write(text.heading)
      return try write(.all) { entry, _ in Array(text.row(entry).utf8) }
    case .headers(let style):
      let text = EntryText(now: now, style: style)
      return try write(.all) { entry, message in
        message.map { Array(text.block(entry, $0.header).utf8) }
      }
    case .qread: return try write(.all) { entry, _ in QreadFormat.text(entry) }
    case .json(let headers):
      return try write(.all) { entry, message in
        var line = entry.json
        if headers, let message { line.add(message.header) }
        return line.closed + [UInt8(ascii: "\n")]
      }
    case .ids(let json):
      return try write([]) { entry, _ in
        Array((json ? "{\"id\":\(entry.identity.id)}\n" : "\(entry.identity.id)\n").utf8)
      }
    }
  }

  func count(json: Bool) throws -> Bool {
    let total = Mutex(0)
    try forEach(selection.look([], now: now) { _, _ in true }, isAlone: true) { items in
      total.withLock { $0 += items.count }
    }
    let count = total.withLock { $0 }
    Output.line(json ? "{\"messages\":\(count)}" : String(count))
    return count > 0
  }

  func count(by key: CountKey, json: Bool, _ style: Style) throws -> Bool {
    let table = Mutex(CountTable())
    let now = now
    try forEach(
      selection.look(key.detail, now: now) { entry, _ in key.values(of: entry, now: now) },
      isAlone: true
    ) { items in
      table.withLock { table in
        for values in items { for value in values { table.add(value) } }
      }
    }
    let counted = table.withLock { $0 }
    if counted.others > 0 {
      Output.complain(
        "more than \(CountTable.most) different values: the rest is counted as others")
    }
    if json {
      var output = Output.Buffer()
      for line in counted.json(by: key) { output.line(line) }
    } else if counted.total > 0 {
      Output.write(counted.text(by: key, style))
    }
    return counted.total > 0
  }

  private func write(
    _ detail: EntryDetail, _ make: @escaping @Sendable (Entry, OpenMessage?) -> [UInt8]?
  ) throws -> Bool {
    let found = Mutex(false)
    try forEach(selection.look(detail, now: now, make: make), isAlone: false) { pieces in
      if pieces.isEmpty { return }
      found.withLock { $0 = true }
      var bytes: [UInt8] = []
      bytes.reserveCapacity(pieces.reduce(0) { $0 + $1.count })
      for piece in pieces { bytes += piece }
      Output.write(bytes)
    }
    return found.withLock { $0 }
  }

  private func forEach<Item: Sendable>(
    _ look: EntryLook<Item>, isAlone: Bool, _ take: @Sendable ([Item]) -> Void
  ) throws {
    let progress = Mutex(Progress(isAlone: isAlone))
    try scanner.forEach(look, ids: selection.onlyIDs) { findings in
      unread.complain(findings.damaged)
      take(findings.items)
      progress.withLock { $0.advance(by: findings.looked) }
      return true
    }
    progress.withLock { $0.end() }
  }
}
