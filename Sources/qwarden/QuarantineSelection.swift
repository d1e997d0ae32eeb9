import Ledger
import Mail
import QmailQueue
import Response
import Selection
import Storms

/// The same conditions as for the queue, on quarantined mail.
struct QuarantineSelection {
  private static let page = 1000
  let selection: Selection
  let incident: Int?
  /// Of that number, as far as it is known.
  private let storm: Storm?
  let ledger: Ledger
  let copies: QuarantineCopies
  let now: Timestamp
  /// Those whose copy cannot be read.
  let unread = Unread()

  init(
    selection: Selection, incident: Int?, ledger: Ledger, places: Places, now: Timestamp
  ) throws {
    self.selection = selection
    self.incident = incident
    storm = try incident.flatMap { try ledger.incident($0) }
    self.ledger = ledger
    copies = QuarantineCopies(places, ledger)
    self.now = now
  }

  /// Calls `body` with every kept message that is meant, oldest row first; stops when it returns false. One whose copy is damaged or was
  /// taken away is told of, and keeps nobody from the others.
  func forEach(
    in states: Set<QuarantineRecord.State>, _ body: (QuarantineRecord) throws -> Bool
  ) throws {
    let progress = Progress(isAlone: false)
    defer { progress.end() }
    var after: Int64 = 0
    while true {
      let records = try ledger.quarantine(states, after: after, limit: Self.page)
      for record in records {
        do {
          guard try isMeant(record) else { continue }
          guard try body(record) else { return }
        } catch let error as CopyError {
          unread.complain(error)
        }
      }
      progress.advance(by: records.count)
      guard let last = records.last, records.count == Self.page else { return }
      after = last.id
    }
  }

  private func isMeant(_ record: QuarantineRecord) throws -> Bool {
    if let incident, record.incident != incident {
      // By hand, and of the storm all the same.
      guard record.incident == nil, let storm,
        IncidentMessages.belongs(try copies.entry(record, []), to: storm)
      else { return false }
    }
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

/// A message set aside whose copy cannot be read.
struct CopyError: Error {
  var id: UInt64
  var why: QuarantineError
}

extension Unread {
  func complain(_ error: CopyError) {
    Output.complain("message \(error.id): \(error.why)")
    note(error.why.exitCode)
  }
}

extension QuarantineRecord.State {
  /// The copy is to be there: it is kept until the row is closed.
  fileprivate var owesCopy: Bool { ![.intended, .expiring].contains(self) && !isFinal }
}

/// The copies of the quarantine, opened when the first one is asked for.
final class QuarantineCopies {
  private let path: String
  private let ledger: Ledger
  private var opened: QuarantineStore?

  init(_ places: Places, _ ledger: Ledger) {
    path = places.forHands.quarantine
    self.ledger = ledger
  }

  private func store() throws(QuarantineError) -> QuarantineStore {
    if let opened { return opened }
    let store = try QuarantineStore(path: path, creating: false)
    opened = store
    return store
  }

  /// - Returns: nil when it was released or has expired meanwhile, or is not copied yet.
  /// - Throws: ``CopyError`` when its copy is damaged, or gone although it is owed.
  func message(_ record: QuarantineRecord) throws -> QuarantinedBody? {
    try read(record) { store throws(QuarantineError) in try store.message(record.identity) }
  }

  /// What had failed before it was set aside: the text of the bounce that qmail-send would have sent; empty where there is none.
  func failures(_ record: QuarantineRecord) -> [UInt8] {
    (try? store().bounce(record.identity)) ?? []
  }

  private func read<Part: ~Copyable>(
    _ record: QuarantineRecord, _ part: (QuarantineStore) throws(QuarantineError) -> Part
  ) throws -> Part? {
    let store = try store()
    do throws(QuarantineError) { return try part(store) } catch {
      if error.kind == .missing {
        let state = try ledger.quarantine(number: record.id)?.state
        if state?.owesCopy != true { return nil }
      }
      throw CopyError(id: record.identity.id, why: error)
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
      let copy = try read(record) { store throws(QuarantineError) in
        try store.read(record.identity)
      }
      for recipient in copy?.recipients ?? [] {
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
