import Files
import Ledger
import Mail
import Policy
import QmailQueue
import Synchronization

/// Setting messages aside: lots, each in batches on two threads. While one waits, for the disk, the ledger or a delivery that is just ending, the
/// other works.
extension Responder {
  /// Messages of the first lot.
  static let smallestLot = 128
  public static let largestLot = 8192
  /// A younger message is in its first delivery, which begins a millisecond after its birth (experiment, notqmail 1.09): what it leaves pending
  /// is known only afterwards, and most of a storm's fast failures are gone by then.
  static let firstAttempt = 0.15
  /// Departing entries looked at in one tick: of those to which something happened, and in the first round over all.
  static let watched = 1024
  /// And of the others, once all have been looked at: 100,000 in four hours and a half, for a twentieth of a percent of a processor.
  static let watchedAgain = 32

  /// A bounded piece of work on the quarantine (at most a lot copied and marked, some 1024 watched): watches marked entries, sweeping
  /// their bounces; finishes what was left half done; copies and marks a lot. Call it at every poll, and again soon while
  /// ``QuarantineProgress/hasMore``.
  public func quarantineTick(at now: Timestamp) -> QuarantineProgress {
    var progress = QuarantineProgress()
    told.beginParts()
    defer { told.endParts() }
    working("set aside", "messages", &progress.outcomes) { outcomes throws(Trouble) in
      try writeIntents(&outcomes, now)
      let (waiting, someLeave) = try unfinished()
      if !someLeave { _ = takeTouched(atMost: .max) }
      if waiting > 0 || someLeave {
        try withHands { () throws(Trouble) in
          try resolveReleases(now, &outcomes)
          // While a storm is being set aside, its backlog comes first.
          let isCalm = waiting == 0 && !cursors.hasWatchedAll
          try watch(limit: isCalm ? Self.watched : Self.watchedAgain, now, &outcomes)
          try finishCopied(now, &outcomes)
          progress.hasMore = try retireLot(now, &outcomes) || hasTouched
        }
      }
      (progress.waiting, progress.someLeave) = try unfinished()
    }
    return progress
  }

  private func unfinished() throws(Trouble) -> (waiting: Int, someLeave: Bool) {
    let waiting = try attempt { try ledger.waitingCount() }
    return (waiting, try attempt { try ledger.hasDeparting() })
  }

  /// - Returns: whether there is more that can be done at once: some are left, or the lot was full and none of it postponed.
  private func retireLot(_ now: Timestamp, _ outcomes: inout [Outcome]) throws(Trouble) -> Bool {
    let begun = WallClock.monotonic()
    let limit = lotSize.messages
    let rows = try next(.intended, limit, from: &cursors.retiring)
    let (dealt, left) = try retire(rows.count, now, &outcomes) { rows[$0] }
    lotSize.lasted(WallClock.monotonic() - begun, dealt)
    return left > 0 || dealt == limit
  }

  /// Takes a lot of messages through all steps. The caller holds the hands' lock.
  /// - Parameter rows: gives the rows of a part of the lot, committed; asked once for each part.
  /// - Returns: how many were dealt with, and how many are left for a later tick; the others are postponed.
  func retire(
    _ count: Int, _ now: Timestamp, _ outcomes: inout [Outcome],
    _ rows: @Sendable (Range<Int>) throws(Trouble) -> ArraySlice<QuarantineRecord>
  ) throws(Trouble) -> (dealt: Int, left: Int) {
    if count == 0 { return (0, 0) }
    let store = try quarantine()
    let batch = batch(at: now)
    let all = Mutex(RetiringBatch.Account())
    var trouble: Trouble?
    let parts = LotSize.batches(of: count)
    do throws(Trouble) {
      try SharedWork.run(parts.count) { index throws(Trouble) in
        var account = RetiringBatch.Account()
        defer { all.withLock { $0.add(account) } }
        try batch.take(try rows(parts[index]), &account)
        return true
      }
    } catch {
      if case .stopped = error { throw error }
      trouble = error
    }
    let account = all.withLock { $0 }
    for (record, refusal) in account.failures {
      fail(
        "set aside", "\(record.identity.id)", .refusal(refusal), incident: record.incident,
        &outcomes)
    }
    for (why, records) in account.abandoned { try tellAbandoned(records, why, now, &outcomes) }
    try tell(account.done, now, &outcomes)
    try discard(account.done, store, now, &outcomes)
    try finish(account.begun, now, &outcomes)
    if let trouble { throw trouble }
    return (
      account.done.count + account.abandoned.reduce(0) { $0 + $1.records.count }, account.left
    )
  }

  // MARK: The parts

  func batch(at now: Timestamp) -> RetiringBatch {
    RetiringBatch(
      places: places, layout: layout, policy: policy, ledger: ledger, look: look,
      stopAfter: stopAfter, now: now, mostRecipients: mostRecipients, mostBytes: mostBytes)
  }

  /// The next rows in this state, from `cursor` on; goes round, so that postponed ones do not keep the others waiting.
  private func next(
    _ state: QuarantineRecord.State, _ limit: Int, from cursor: inout Int64
  ) throws(Trouble) -> [QuarantineRecord] {
    let start = cursor
    var rows = try attempt { try ledger.quarantine([state], after: start, limit: limit) }
    if rows.isEmpty, start > 0 {
      rows = try attempt { try ledger.quarantine([state], limit: limit) }
    }
    cursor = rows.last?.id ?? 0
    return rows
  }

  func checkRoom() throws(Trouble) { try Self.checkRoom(places.state, policy) }

  /// The floors hold here too: a storm's intents may be many more than there is room for.
  static func checkRoom(_ state: String, _ policy: Policy) throws(Trouble) {
    let free = try attempt { try Folder.free(state) }
    if free.space < policy.quarantine.minimumFreeSpace {
      throw .noRoom(
        "\(state): too little of the disk is free (quarantine: minimum-free-space); free some"
      )
    }
    if free.inodes < policy.quarantine.minimumFreeInodes {
      throw .noRoom(
        "\(state): too few inodes are free (quarantine: minimum-free-inodes); free some")
    }
  }

  func abandon(
    _ records: [QuarantineRecord], why: String, _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    try attempt { try ledger.abandon(records, note: why, at: now) }
    try tellAbandoned(records, why, now, &outcomes)
  }

  private func tellAbandoned(
    _ records: [QuarantineRecord], _ why: String, _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    var history = History(now)
    for var record in records {
      record.state = .abandoned
      record.note = why
      outcomes.append(.abandoned(record))
      history.add("quarantine", incident: record.incident, .held, why: why)
    }
    try attempt { try ledger.record(history.actions) }
  }

  func tell(
    _ records: [QuarantineRecord], _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    var history = History(now)
    for var record in records {
      record.state = .marked
      record.marked = now
      outcomes.append(.quarantined(record))
      history.add(
        record.keepsNothing ? "delete" : "quarantine", incident: record.incident, .done,
        why: record.incident == nil ? record.note ?? "" : "")
    }
    try attempt { try ledger.record(history.actions) }
  }

  /// Removes the copies of those messages, just marked, that are not to be kept. Their marks are flushed to the disk first: afterwards
  /// there is nothing to make lost ones good from. The rows are watched on until qmail-send has removed the entries.
  func discard(
    _ records: [QuarantineRecord], _ store: QuarantineStore, _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    var unwanted = records.filter(\.keepsNothing)
    if unwanted.isEmpty { return }
    // Each fsync(2) would wait for the disk by itself.
    if unwanted.count > 8 { try attempt { try layout.sync() } }
    for index in unwanted.indices {
      if unwanted.count <= 8 { try flushMarks(unwanted[index].identity.id) }
      unwanted[index].state = .marked
      unwanted[index].marked = now
    }
    try attempt { try ledger.move(unwanted, to: .expiring, at: now) }
    try step(.expiryIntended)
    for index in unwanted.indices {
      try attempt { try store.delete(unwanted[index].identity) }
      try step(.copyDeleted)
      unwanted[index].state = .expiring
    }
    try attempt { try ledger.move(unwanted, to: .expired, at: now) }
    for var record in unwanted {
      record.state = .expired
      record.closed = now
      outcomes.append(.expired(record))
    }
  }

  // MARK: What was left half done

  /// Rows `copied` that are in nobody's hands: a process was killed, or a step failed. Nothing was marked, or the marks are finished.
  func finishCopied(_ now: Timestamp, _ outcomes: inout [Outcome]) throws(Trouble) {
    try finish(
      try next(.copied, Self.smallestLot, from: &cursors.finishing), now, &outcomes)
  }

  /// Carries each half-done message to `marked`, or back to `intended`, or out.
  func finish(_ rows: [QuarantineRecord], _ now: Timestamp, _ outcomes: inout [Outcome])
    throws(Trouble)
  {
    if rows.isEmpty { return }
    let store = try quarantine()
    let look = try settledLook()
    for record in rows {
      try alone("set aside", record.identity, incident: record.incident, &outcomes) {
        outcomes throws(Trouble) in try finish(record, store, look, now, &outcomes)
      }
    }
  }

  /// Nothing has happened to it: it is set aside anew, unless nobody knows any more why it was to be.
  func beginAgain(_ record: QuarantineRecord, _ now: Timestamp, _ outcomes: inout [Outcome])
    throws(Trouble)
  {
    try attempt { try ledger.move([record], to: .intended, at: now) }
    if record.note == Self.takenUp {
      try abandon(
        [record], why: "the ledger that knew of it is lost, and it was not marked", now, &outcomes)
    }
  }

  func finish(
    _ record: QuarantineRecord, _ store: QuarantineStore, _ look: DeliveriesInFlight,
    _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    switch try attempt({ try recover(record.identity, store, look) }) {
    case .postponed: return
    case .abandoned:
      if record.state == .copied { try beginAgain(record, now, &outcomes) }
    case .finishedByQmail:
      try abandon([record], why: "qmail finished it before it was set aside", now, &outcomes)
    case .quarantined:
      var record = record
      let message = try attempt { try store.read(record.identity) }
      record.facts.inDoubt = message.count(.inDoubt)
      record.facts.recipients = message.count(.marked) + message.count(.inDoubt)
      if record.state == .intended {
        record.facts.sender = message.sender
        record.facts.size = message.size
        try attempt { try ledger.recordCopied([record], at: now) }
      }
      try attempt { try ledger.recordMarked([record], at: now) }
      try tell([record], now, &outcomes)
      try discard([record], store, now, &outcomes)
    }
  }
}
