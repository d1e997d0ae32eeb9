import Ledger
import Mail
import QmailQueue
import Response
import Selection

/// The same conditions as for the queue, on quarantined mail.
struct QuarantineSelection {
  private static let page = 1000
  let selection: Selection
  let incident: Int?
  let ledger: Ledger
  let copies: QuarantineCopies
  let now: Timestamp

  init(
    selection: Selection, incident: Int?, ledger: Ledger, places: Places, now: Timestamp
  ) {
    self.selection = selection
    self.incident = incident
    self.ledger = ledger
    copies = QuarantineCopies(places)
    self.now = now
  }

  /// Calls `body` with every kept message that is meant, oldest row first; stops when it returns false.
  func forEach(
    in states: Set<QuarantineRecord.State>, _ body: (QuarantineRecord) throws -> Bool
  ) throws {
    let progress = Progress(isAlone: false)
    defer { progress.end() }
    var after: Int64 = 0
    while true {
      let records = try ledger.quarantine(states, after: after, limit: Self.page)
      for record in records where try isMeant(record) {
        guard try body(record) else { return }
      }
      progress.advance(by: records.count)
      guard let last = records.last, records.count == Self.page else { return }
      after = last.id
    }
  }

  private func isMeant(_ record: QuarantineRecord) throws -> Bool {
    if let incident, record.incident != incident { return false }
    if selection.isEmpty { return true }
    let detail: EntryDetail = selection.needsRecipients ? .recipients : []
    guard try selection.matches(copies.entry(record, detail), now: now) else { return false }
    return try !selection.needsHeader || holdsMessage(record)
  }

  /// Whether the conditions on header and body hold for the copy; where there is none any more, for the Subject that the ledger keeps.
  private func holdsMessage(_ record: QuarantineRecord) throws -> Bool {
    if record.state.isFinal {
      let known = MessageHeader(Array("Subject: ".utf8) + record.facts.subject)
      return !selection.needsBody && selection.matches(known)
    }
    guard let copy = try copies.message(record) else { return false }
    return selection.matches(try OpenMessage(copy))
  }
}

/// The copies of the quarantine, opened when the first one is asked for.
final class QuarantineCopies {
  private let path: String
  private var opened: QuarantineStore?

  init(_ places: Places) { path = places.forHands.quarantine }

  private func store() throws(QuarantineError) -> QuarantineStore {
    if let opened { return opened }
    let store = try QuarantineStore(path: path, creating: false)
    opened = store
    return store
  }

  /// nil when there is no copy, or none any more.
  func message(_ record: QuarantineRecord) throws(QuarantineError) -> QuarantinedBody? {
    do throws(QuarantineError) { return try store().message(record.identity) } catch {
      if error.kind == .missing { return nil }
      throw error
    }
  }

  /// The message as an entry of the queue, with no more read from its copy than `detail` asks for; a recipient is done who is not owed the mail.
  func entry(_ record: QuarantineRecord, _ detail: EntryDetail) throws -> Entry {
    var entry = Entry(
      identity: record.identity, size: record.facts.size, sender: record.facts.sender,
      source: record.facts.source.source, subject: record.facts.subject)
    // A closed row's copy is gone.
    if record.state.isFinal { return entry }
    if detail.contains(.recipients) {
      for recipient in try store().read(record.identity).recipients {
        let value = Recipient(
          address: recipient.address,
          isDone: recipient.state == .released || recipient.state == .finishedByQmail)
        if recipient.channel == .local {
          entry.local.append(value)
        } else {
          entry.remote.append(value)
        }
      }
    }
    if detail.contains(.message) {
      guard let copy = try message(record) else { return entry }
      let start = try copy.read(limit: 32_768)
      let head = MessageHead(start.span)
      entry.source = head.source
      entry.isList = head.isList
    }
    return entry
  }
}

extension SourceSummary {
  /// As far as it is known; a bounce has its original's source, whose sender is not: it is not to be shown.
  var source: Source {
    switch via {
    case "bounce": .bounce(original: Source.Origin(sender: .null, source: origin))
    case "alias": .alias
    default: origin
    }
  }

  /// Of a bounce: where its original came from.
  private var origin: Source {
    if let client { return .network(client: client, helo: nil, user: user) }
    return uid.map { .uid($0) } ?? .unknown
  }

  private var isBounce: Bool { via == "bounce" }

  /// As `list` says it, without what is not known.
  var text: String {
    guard isBounce else { return Readable.source(source) }
    return origin == .unknown ? "bounce" : "bounce, from \(Readable.source(origin))"
  }

  var json: JSONLine {
    guard isBounce else { return source.json }
    var line = JSONLine()
    line.add("via", via)
    if origin != .unknown { line.add("original", origin.json) }
    return line
  }
}
