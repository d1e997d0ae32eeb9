import Ledger
import Mail
import QmailQueue

/// Marked entries until qmail-send has removed them, and copies whose time has run out.
extension Responder {
  /// Looks at those first that a delivery in flight may leave a bounce for and those to which something happened, then at `limit` of the
  /// others in turn.
  func watch(limit: Int, _ now: Timestamp, _ outcomes: inout [Outcome]) throws(Trouble) {
    var rows = try attempt { try ledger.departing(inDoubtOnly: true, limit: Self.smallestLot) }
    var urgent = Set(rows.map(\.id))
    let touched = takeTouched(atMost: Self.watched)
    rows += try attempt { try ledger.taken(ids: touched) }.filter {
      $0.isDeparting && urgent.insert($0.id).inserted
    }
    var others = try attempt {
      try ledger.departing(after: cursors.watching, limit: limit)
    }
    if others.isEmpty, cursors.watching > 0 {
      others = try attempt { try ledger.departing(limit: limit) }
    }
    var recipients = 0
    let some = others.prefix { record in
      defer { recipients += record.facts.recipients }
      return recipients < watchedRecipients
    }
    let isEnd = others.count < limit && some.count == others.count
    if isEnd { cursors.hasWatchedAll = true }
    cursors.watching = isEnd ? 0 : some.last?.id ?? 0
    rows += some.filter { !urgent.contains($0.id) }
    if rows.isEmpty { return }

    let store = try quarantine()
    var gone: [QuarantineRecord] = []
    for record in rows {
      let value = "\(record.identity.id)"
      let entry = DepartingEntry(record.identity, sender: record.facts.sender, in: layout)
      var isUntouched = false
      do throws(RetirementRefusal) {
        try entry.sweepBounce(into: store)
        switch try entry.state() {
        case .gone: gone.append(record)
        case .leaving: break
        case .marksLost: isUntouched = try !restoreMarks(record, store)
        }
      } catch {
        fail("watch", value, .refusal(error), incident: record.incident, &outcomes)
      }
      // The notes of the marks were lost too: nothing has happened to it, so it is set aside anew.
      if isUntouched { try beginAgain(record, now, &outcomes) }
    }
    try attempt {
      try DepartingEntry.secureDepartures(of: gone.map(\.identity), in: layout)
    }
    try noteGone(gone, store, now, &outcomes)
  }

  /// These entries have left the queue.
  func noteGone(
    _ gone: [QuarantineRecord], _ store: QuarantineStore, _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    if gone.isEmpty { return }
    try attempt { try ledger.recordGone(gone, at: now) }
    try step(.goneRecorded)
    for var record in gone {
      record.gone = now
      if record.state == .marked { record.state = .gone }
      outcomes.append(.gone(record))
      // Released while its old entry was still departing: nobody needs the copy any more.
      if record.state.isFinal { try attempt { try store.delete(record.identity) } }
    }
  }

  /// The machine went down before the marks reached the disk: mark again.
  /// - Returns: false when it was left as if nobody had touched it, and its copy is gone.
  private func restoreMarks(_ record: QuarantineRecord, _ store: QuarantineStore)
    throws(RetirementRefusal) -> Bool
  {
    guard let look = try? settledLook() else { return true }
    return try recover(record.identity, store, look) != .abandoned
  }

  /// Deletes copies whose time has run out, at most 256 a call; once a day also forgets what ended over a year ago.
  public func expireQuarantine(at now: Timestamp) -> [Outcome] {
    var outcomes: [Outcome] = []
    forgetTheOld(now, &outcomes)
    working("expire", "quarantined messages", &outcomes) { outcomes throws(Trouble) in
      let due = try attempt { try ledger.expiredQuarantine(at: now, limit: 256) }
      if due.isEmpty { return }
      try withHands { () throws(Trouble) in
        let store = try quarantine()
        try attempt { try ledger.move(due, to: .expiring, at: now) }
        try step(.expiryIntended)
        try deleteExpiring(store, now, &outcomes)
      }
    }
    return outcomes
  }

  func deleteExpiring(
    _ store: QuarantineStore, _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    let rows = try attempt { try ledger.quarantine([.expiring]) }
    if rows.isEmpty { return }
    var history = History(now)
    for record in rows {
      try attempt { try store.delete(record.identity) }
      try step(.copyDeleted)
      history.add("expire", incident: record.incident, .done)
    }
    try attempt { try ledger.move(rows, to: .expired, at: now) }
    for var record in rows {
      record.state = .expired
      record.closed = now
      outcomes.append(.expired(record))
    }
    try attempt { try ledger.record(history.actions) }
  }

  func forgetTheOld(_ now: Timestamp, _ outcomes: inout [Outcome]) {
    if let last = lastForgot, now < last + .seconds(86_400), now >= last { return }
    lastForgot = now
    working("clear", ledger.path, &outcomes) { _ throws(Trouble) in
      try attempt { try ledger.forget(before: now - .seconds(400 * 86_400)) }
    }
  }
}
