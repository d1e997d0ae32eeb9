import Files
import Ledger
import Mail
import QmailQueue

/// Orders while qmail-send is stopped: the hands end in its stead what they have marked, and take out what is still in todo. Its lock is
/// held for one lot at a time, so that whoever starts qmail-send has it running seconds later.
extension Responder {
  /// No qmail-send runs, and this process may remove qmailq's files. Asked once for many lots: /proc/locks makes its reader wait for a
  /// hundredth of a second.
  var mayActForQmail: Bool {
    QmailSend.isRunning(layout) == false && StoppedQueue.isWritable(layout)
  }

  /// Runs `body` with no qmail-send able to start, and tells it whether that is so: it is not where one has started meanwhile.
  /// - Parameter isStopped: ``mayActForQmail``, asked shortly before.
  func withQmailHeldOff(
    if isStopped: Bool, _ body: (_ isHeld: Bool) throws(Trouble) -> Void
  ) throws(Trouble) {
    guard isStopped, let lock = try attempt({ try QmailSend.holdOff(layout) }) else {
      return try body(false)
    }
    try withExtendedLifetime(lock) { () throws(Trouble) in try body(true) }
  }

  /// Takes messages out of the todo of a stopped queue, as ``remove(_:by:at:)`` does with those that qmail-send has taken in.
  /// - Returns: messages without a fate were not touched: qmail-send runs, or something failed.
  public func removeUnprocessed(
    _ messages: [UnprocessedMessage], by order: RemovalOrder, at now: Timestamp
  ) -> (fates: [EntryIdentity: RemovalFate], failure: Outcome.Failure?) {
    carryOut(messages.map { ($0.identity, $0.sender) }, by: order, at: now) {
      lot, isHeld, outcomes throws(Trouble) in
      guard isHeld else { return false }
      if order.keepsCopy { try checkRoom() }
      let rows = try intend(lot, by: order, now, &outcomes)
      try retireUnprocessed(rows, now, &outcomes)
      return true
    }
  }

  /// Removes marked entries from a queue that nobody else will touch.
  func removeForQmail(
    _ identities: [EntryIdentity], _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    let store = try quarantine()
    var gone: [QuarantineRecord] = []
    for identity in identities {
      guard let row = try attempt({ try ledger.quarantine(of: identity) }), row.isDeparting else {
        continue
      }
      let entry = DepartingEntry(identity, sender: row.facts.sender, in: layout)
      do throws(RetirementRefusal) {
        try entry.sweepBounce(into: store)
        if try entry.removeForQmail() { gone.append(row) }
      } catch {
        fail("remove", "\(identity.id)", .refusal(error), &outcomes)
      }
      try step(.removedForQmail)
    }
    try attempt { try layout.sync() }
    try noteGone(gone, store, now, &outcomes)
  }

  private final class Passage {
    var record: QuarantineRecord
    var retirement: UnprocessedRetirement?

    init(_ record: QuarantineRecord, _ retirement: consuming UnprocessedRetirement) {
      self.record = record
      self.retirement = consume retirement
    }
  }

  /// The same order as in ``retire(_:_:_:_:)``: copies durable and recorded before a file of the queue is touched, and the removals durable
  /// before they are recorded.
  private func retireUnprocessed(
    _ rows: [QuarantineRecord], _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    if rows.isEmpty { return }
    let store = try quarantine()
    let boot = WallClock.bootID()
    var passages: [Passage] = []
    for var record in rows {
      let id = record.identity.id
      guard case .entry(let entry) = EntryReader(layout: layout).read(id), entry.isUnprocessed,
        entry.identity == record.identity
      else {
        try abandon([record], why: "it was taken in or left meanwhile", now, &outcomes)
        continue
      }
      record.facts = QuarantineRecord.Facts(entry)
      do throws(RetirementRefusal) {
        var retirement = try UnprocessedRetirement.open(
          record.identity, sender: entry.sender, in: layout)
        do throws(QuarantineError) {
          // One that is there was left by a process that was killed before it removed anything: todo stands.
          try store.delete(record.identity)
          try retirement.copy(into: store, at: now, boot: boot)
        } catch { throw .store(error) }
        passages.append(Passage(record, retirement))
      } catch {
        switch error {
        case .gone, .notTheSame, .alreadyDone, .damaged, .unprocessed:
          try abandon([record], why: "\(error)", now, &outcomes)
        case .file, .store: fail("set aside", "\(id)", .refusal(error), &outcomes)
        }
        continue
      }
      try step(.copied)
    }
    if passages.isEmpty { return }
    try batch(at: now).secureCopies(of: passages.map(\.record), in: store)
    for passage in passages { passage.record.state = .copied }
    func each(_ body: (Passage) throws(RetirementRefusal) -> Void) throws(Trouble) {
      var done: [Passage] = []
      for passage in passages {
        do throws(RetirementRefusal) {
          try body(passage)
          done.append(passage)
        } catch {
          fail("set aside", "\(passage.record.identity.id)", .refusal(error), &outcomes)
        }
        try step(.removedForQmail)
      }
      passages = done
    }
    try each { passage throws(RetirementRefusal) in try passage.retirement?.note() }
    try attempt { try store.syncAll() }
    try each { passage throws(RetirementRefusal) in try passage.retirement?.remove() }
    try attempt { try store.syncAll() }
    try attempt { try layout.sync() }
    try each { passage throws(RetirementRefusal) in try passage.retirement?.clear() }
    for passage in passages {
      passage.record.facts.recipients = passage.retirement?.recipients.count ?? 0
    }
    let done = passages.map(\.record)
    try attempt { try ledger.recordMarked(done, at: now) }
    try step(.marksRecorded)
    try tell(done, now, &outcomes)
    try discard(done, store, now, &outcomes)
    let rows = try attempt { try done.compactMap { try ledger.quarantine(number: $0.id) } }
    try noteGone(rows, store, now, &outcomes)
  }
}
