import Files
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
  let places: Places
  let now: Timestamp

  /// Calls `body` with every kept message that is meant, oldest row first; stops when it returns false.
  func forEach(
    in states: Set<QuarantineRecord.State>, _ body: (QuarantineRecord) throws -> Bool
  ) throws {
    var after: Int64 = 0
    while true {
      let records = try ledger.quarantine(states, after: after, limit: Self.page)
      for record in records where try isMeant(record) {
        guard try body(record) else { return }
      }
      guard let last = records.last, records.count == Self.page else { return }
      after = last.id
    }
  }

  private func isMeant(_ record: QuarantineRecord) throws -> Bool {
    if let incident, record.incident != incident { return false }
    if selection.isEmpty { return true }
    guard try selection.matches(entry(of: record), now: now) else { return false }
    return try !selection.needsHeader || holdsMessage(record)
  }

  /// Whether the conditions on header and body hold for the copy; where there is none any more, for the Subject that the ledger keeps.
  private func holdsMessage(_ record: QuarantineRecord) throws -> Bool {
    if record.state.isFinal {
      let known = MessageHeader(Array("Subject: ".utf8) + record.facts.subject)
      return !selection.needsBody && selection.matches(known)
    }
    let store = try QuarantineStore(path: places.forHands.quarantine, creating: false)
    let copy = try store.message(record.identity)
    return selection.matches(try OpenMessage(copy))
  }

  /// The message as an entry. Its recipients are read from the copy only when a condition asks for them.
  private func entry(of record: QuarantineRecord) throws -> Entry {
    var entry = Entry(
      identity: record.identity, size: record.facts.size, sender: record.facts.sender,
      source: record.facts.source.source, subject: record.facts.subject)
    if selection.needsRecipients {
      let envelope = try QuarantineStore(path: places.forHands.quarantine, creating: false).read(
        record.identity)
      for recipient in envelope.recipients {
        let value = Recipient(address: recipient.address)
        if recipient.channel == .local {
          entry.local.append(value)
        } else {
          entry.remote.append(value)
        }
      }
    }
    return entry
  }
}

extension SourceSummary {
  /// As far as it is known; a bounce has its original's source without its sender.
  var source: Source {
    let origin: Source =
      if let client {
        .network(client: client, helo: nil, user: user)
      } else if let uid { .uid(uid) } else { .unknown }
    return switch via {
    case "bounce": .bounce(original: Source.Origin(sender: .null, source: origin))
    case "alias": .alias
    default: origin
    }
  }
}
