import Files
import Ledger
import Mail
import Storms

/// Which messages in the queue belong to an incident: those that were chosen for quarantine, and those of its first offender, the one that
/// explains it, that came while it lasted.
enum IncidentMessages {
  private static let page = 1000

  /// - Throws: when there is no such incident.
  static func test(_ number: Int, _ places: Places) throws -> @Sendable (Entry) -> Bool {
    let ledger = try Ledger.reading(places)
    guard let storm = try ledger.incident(number) else {
      throw PlainFailure("there is no incident \(number)", Exit.nothingMatched)
    }
    var chosen: Set<EntryIdentity> = []
    var after: Int64 = 0
    while true {
      let records = try ledger.quarantine([.intended, .copied, .marked], after: after, limit: page)
      for record in records where record.incident == number { chosen.insert(record.identity) }
      guard let last = records.last, records.count == page else { break }
      after = last.id
    }
    let identities = chosen
    return { entry in
      identities.contains(entry.identity) || belongs(entry, to: storm)
    }
  }

  /// It is of the first offender, and came while the storm lasted.
  static func belongs(_ entry: Entry, to storm: Storm) -> Bool {
    let birth = entry.identity.birth
    guard birth >= storm.began, storm.ended.map({ birth <= $0 }) ?? true,
      let offender = storm.offenders.first
    else { return false }
    return holds(offender, for: entry)
  }

  private static func holds(_ offender: Offender, for entry: Entry) -> Bool {
    switch offender {
    case .sender(let sender): entry.sender.lowercased == sender.lowercased
    case .senderDomain(let domain): entry.sender.domain == domain
    case .client(let client):
      if case .network(client, _, _) = entry.source.innermost { true } else { false }
    case .user(let user):
      if case .network(_, _, user) = entry.source.innermost { true } else { false }
    case .uid(let uid): entry.source.innermost == .uid(uid)
    }
  }
}

extension Source {
  /// Of a bounce of ours, the source of the message it tells about.
  var innermost: Source {
    if case .bounce(let original?) = self { original.source } else { self }
  }
}
