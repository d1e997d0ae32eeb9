import Ledger
import Mail
import QmailQueue

// What no look at the processes has shown.
extension Responder {
  /// Takes in what the log tells of deliveries that ended. A recipient whom we hold for undelivered was reached after all: its delivery
  /// began from a record read before the mark, or came and went between two looks. It is in doubt, and a release leaves it out. No more
  /// than that, since a log may be written to by others.
  public func noteFinished(_ deliveries: [FinishedDelivery], at now: Timestamp) -> [Outcome] {
    unheard += deliveries
    if unheard.count > Self.mostUnheard { unheard.removeFirst(unheard.count - Self.mostUnheard) }
    guard !unheard.isEmpty, let rows = try? ledger.quarantine(ids: Set(unheard.map(\.id))) else {
      return []
    }
    unheard.removeAll { rows[$0.id] == nil }
    if unheard.isEmpty { return [] }
    var outcomes: [Outcome] = []
    working("note", "late deliveries", &outcomes) { outcomes throws(Trouble) in
      do throws(Trouble) {
        try withHands(waiting: .zero) { () throws(Trouble) in
          for delivery in unheard {
            for record in rows[delivery.id] ?? [] { try note(delivery, record, &outcomes) }
          }
          unheard = []
        }
      } catch {
        // A command is at work: there will be a next time.
        if case .busy = error { return }
        throw error
      }
    }
    return outcomes
  }

  private func note(
    _ delivery: FinishedDelivery, _ record: QuarantineRecord, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    guard [.copied, .marked, .gone].contains(record.state) else { return }
    let store = try quarantine()
    do {
      var envelope = try store.open(record.identity)
      let recipients = envelope.message.recipients
      guard
        let index = recipients.firstIndex(where: { $0.state == .marked && delivery.isTo($0) }),
        try delivery.queuedBy.map({
          MessageHead(try store.message(record.identity).read(limit: 1024)).pid == $0
        }) ?? true
      else { return }
      try envelope.set(.inDoubt, of: index)
      try ledger.recordDoubts(envelope.message.count(.inDoubt), of: record)
    } catch let error as QuarantineError {
      switch error.kind {
      case .missing: return
      case .file: throw Trouble(error)
      // No release reads such a copy either.
      case .damaged, .foreign, .exists:
        fail(
          "note", "\(record.identity.id)", .store(error), incident: record.incident, &outcomes)
      }
    } catch { throw Trouble(error) }
  }
}
