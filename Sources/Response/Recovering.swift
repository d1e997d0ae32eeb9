import Files
import Ledger
import Mail
import Policy
import QmailQueue

/// The start after a stop of any kind: ledger, quarantine directory, badmailfrom and queue are brought into line.
extension Responder {
  /// At start: finishes or reports whatever a killed process left half done. Rows that wait for a delivery to end are finished by later
  /// ticks.
  public func recover(at now: Timestamp) -> [Outcome] {
    var outcomes: [Outcome] = []
    tended = nil
    isRecovered = false
    outcomes += tendBlocks(at: now)
    forgetTheOld(now, &outcomes)
    working("recover", places.quarantine, &outcomes) { outcomes throws(Trouble) in
      let hasRows = try attempt { try !ledger.quarantine(Self.open, limit: 1).isEmpty }
      if hasRows || Self.exists(places.quarantine) {
        try withHands { () throws(Trouble) in
          let store = try quarantine()
          // Only now: until the hands were ours, a command may have set messages aside.
          try matchStore(store, now, &outcomes)
          try deleteExpiring(store, now, &outcomes)
          try resolveReleases(now, &outcomes)
          try finishCopied(now, &outcomes)
        }
      }
      isRecovered = true
    }
    return outcomes
  }

  private static func exists(_ path: String) -> Bool { (try? FileStatus.of(path)) != nil }

  private static let open = Set(QuarantineRecord.State.allCases.filter { !$0.isFinal })
  private static let page = 1000

  /// Copies without rows, rows without copies. The rows are gone through by the page: they may be very many.
  private func matchStore(
    _ store: QuarantineStore, _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    let contents = try attempt { try store.contents() }
    let held = Set(contents.messages)
    var strays = held.union(contents.partial)
    let look = try settledLook()
    var last: Int64 = 0
    while true {
      let rows = try attempt {
        try ledger.quarantine(Self.open, after: last, limit: Self.page)
      }
      for record in rows {
        let isThere = strays.remove(record.identity) != nil
        switch record.state {
        case .intended where isThere:
          // Copied by a process that was killed before it could say so.
          try alone("recover", record.identity, incident: record.incident, &outcomes) {
            outcomes throws(Trouble) in try finish(record, store, look, now, &outcomes)
          }
        case .marked, .gone, .releaseInDoubt, .releasing:
          guard !held.contains(record.identity) else { continue }
          fail(
            "find", "\(record.identity.id)",
            .other(
              "its copy is not in \(places.quarantine) any more; restore that directory from a backup"
            ),
            incident: record.incident, &outcomes)
        default: continue
        }
      }
      guard rows.count == Self.page, let end = rows.last?.id else { break }
      last = end
    }
    for identity in strays.sorted() {
      try alone("recover", identity, incident: nil, &outcomes) { outcomes throws(Trouble) in
        if let closed = try attempt({ try ledger.quarantine(of: identity) }),
          try !isOlder(closed, than: identity, store)
        {
          // Deleted already, and a power failure has brought it back; or not wanted any more.
          if closed.state == .expired || closed.state.isFinal && !closed.isDeparting {
            try attempt { try store.delete(identity) }
          }
        } else if held.contains(identity) {
          try adopt(identity, store, look, now)
        } else {
          try attempt { try recover(identity, store, look) }
        }
      }
    }
  }

  /// The row was closed before the copy was made: the ledger has been restored from a day in between.
  private func isOlder(
    _ row: QuarantineRecord, than copy: EntryIdentity, _ store: QuarantineStore
  ) throws(Trouble) -> Bool {
    guard let closed = row.closed else { return false }
    do throws(QuarantineError) { return try store.read(copy).taken > closed } catch {
      guard error.kind == .missing else { throw .store(error) }
      return false
    }
  }

  /// The note of one whose copy the ledger did not know.
  public static let takenUp = "found in the quarantine directory"

  /// The ledger was lost and begun anew, or restored from an older day: the copy speaks for itself.
  private func adopt(
    _ identity: EntryIdentity, _ store: QuarantineStore, _ look: DeliveriesInFlight,
    _ now: Timestamp
  ) throws(Trouble) {
    let message: QuarantinedMessage
    do throws(QuarantineError) { message = try store.read(identity) } catch {
      guard error.kind == .missing else { throw .store(error) }
      try attempt { try recover(identity, store, look) }
      return
    }
    var facts = QuarantineRecord.Facts()
    facts.sender = message.sender
    facts.size = message.size
    facts.recipients = message.recipients.count
    facts.inDoubt = message.count(.inDoubt)
    if let bytes = try? store.message(identity).read(limit: 32_768) {
      let head = MessageHead(bytes.span)
      facts.subject = head.subject
      facts.source = SourceSummary(head.source)
    }
    try attempt {
      try ledger.adopt(
        identity, facts, copied: message.taken, expires: now + policy.quarantine.keep, at: now,
        note: Self.takenUp)
    }
  }
}
