import Files
import Ledger
import Mail
import Policy
import QmailQueue

/// Setting messages aside: batches through the steps in the one order that is safe. Each step's rows are committed before the next
/// step touches anything; see ``QuarantineRecord/State`` for what each state promises.
extension Responder {
  /// Messages of the first batch. Each holds up to four descriptors while it is open, and the usual limit is 1024.
  static let smallestBatch = 128
  /// Where the limit may be raised.
  static let largestBatch = 2048
  /// A younger message is in its first delivery, which begins a millisecond after its birth (experiment, notqmail 1.09): what it leaves pending
  /// is known only afterwards, and most of a storm's fast failures are gone by then.
  static let firstAttempt = 0.15
  /// Departing entries looked at in one tick.
  static let watched = 1024

  /// A bounded piece of work on the quarantine (at most a batch copied and marked, 1024 watched): watches marked entries, sweeping
  /// their bounces; finishes what was left half done; copies and marks a batch. Call it at every poll, and again soon while
  /// ``QuarantineProgress/hasMore``.
  public func quarantineTick(at now: Timestamp) -> QuarantineProgress {
    var progress = QuarantineProgress()
    told.beginParts()
    defer { told.endParts() }
    working("set aside", "messages", &progress.outcomes) { outcomes throws(Trouble) in
      try writeIntents(&outcomes, now)
      let (waiting, leaving) = try unfinished()
      if waiting + leaving > 0 {
        try withHands { () throws(Trouble) in
          try resolveReleases(now, &outcomes)
          // While a storm is being set aside, its backlog comes first.
          try watch(limit: waiting > 0 ? Self.smallestBatch : Self.watched, now, &outcomes)
          try finishCopied(now, &outcomes)
          progress.hasMore = try retireBatch(now, &outcomes)
        }
      }
      (progress.waiting, progress.leaving) = try unfinished()
    }
    return progress
  }

  private func unfinished() throws(Trouble) -> (waiting: Int, leaving: Int) {
    let waiting = try attempt { try ledger.waitingCount() }
    return (waiting, try attempt { try ledger.departingCount() })
  }

  /// - Returns: whether the batch was full and none of it postponed.
  private func retireBatch(_ now: Timestamp, _ outcomes: inout [Outcome]) throws(Trouble) -> Bool {
    let begun = WallClock.monotonic()
    let limit = batch.size
    let dealt = try retire(try nextIntended(limit), now, &outcomes)
    batch.lasted(WallClock.monotonic() - begun, dealt)
    return dealt == limit
  }

  /// Takes at most a batch of intended messages through all steps. The caller holds the hands' lock.
  /// - Returns: how many rows were dealt with (not postponed).
  func retire(_ rows: [QuarantineRecord], _ now: Timestamp, _ outcomes: inout [Outcome])
    throws(Trouble) -> Int
  {
    if rows.isEmpty { return 0 }
    // A deletion needs room for one batch only, and often it is made because there is none.
    if rows.contains(where: { !$0.keepsNothing }) { try checkRoom() }
    let store = try quarantine()
    let boot = WallClock.bootID()
    var look = try settledLook()
    var dealt = 0

    // Copies. The queue is only read.
    let opening = Opening(
      layout: layout, queue: try attempt { try OpenQueue(opening: layout) }, policy: policy,
      look: look, now: now)
    let all = rows.map { Passage($0) }
    try forEach(all, nil) { $0.open(by: opening) }
    var passages: [Passage] = []
    var left: [(why: String, records: [QuarantineRecord])] = []
    func leave(_ record: QuarantineRecord, _ why: String) {
      if left.last?.why == why {
        left[left.count - 1].records.append(record)
      } else {
        left.append((why, [record]))
      }
    }
    let released = try releasedPIDs(of: all)
    for passage in all {
      switch passage.judgement {
      case .open(let pid):
        if let pid, released.contains(pid),
          try attempt({
            try ledger.wasReleased(pid: pid, before: passage.record.identity.birth)
          })
        {
          passage.close()
          leave(passage.record, "it was released from quarantine, and is not set aside again")
        } else {
          passages.append(passage)
        }
      case .abandon(let why): leave(passage.record, why)
      case .postpone: break
      case .failed(let refusal):
        fail(
          "set aside", "\(passage.record.identity.id)", .refusal(refusal),
          incident: passage.record.incident, &outcomes)
      }
    }
    try forEach(passages, .copied) { $0.copy(into: store, at: now, boot: boot) }
    if let failure = passages.lazy.compactMap(\.copyFailure).first(where: { $0.kind != .exists }) {
      // Most likely there is no room: what there is of this batch goes.
      for passage in passages where passage.copyFailure == nil { try? cancel(passage, store) }
      throw .store(failure)
    }
    for passage in passages where passage.copyFailure != nil {
      // A copy without its row: left by a process that was killed. Nothing was marked, or recovery will see it.
      passage.close()
      try finish(passage.record, store, look, now, &outcomes)
    }
    passages.removeAll { $0.copyFailure != nil }
    for (why, records) in left {
      try abandon(records, why: why, now, &outcomes)
      dealt += records.count
    }
    if passages.isEmpty { return dealt }
    try attempt { try store.syncBatch() }
    try step(.copiesFlushed)
    try attempt { try ledger.recordCopied(passages.map(\.record), at: now) }
    for passage in passages { passage.change { $0.state = .copied } }
    try step(.copiesRecorded)

    // Bounces out of qmail-send's sight, for good before the first mark.
    try forEach(passages, .bounceAside) { $0.moveBounceAside(into: store) }
    dealt += try giveUpRefused(&passages, store, now, &outcomes)
    try attempt { try store.syncBatch() }
    try step(.bouncesFlushed)

    // Who is being delivered to right now is not known to be pending: leave it for a later tick.
    look = try settledLook()
    for passage in passages where passage.isBusy(look) { try postpone(passage, store, now) }
    passages.removeAll { !$0.isOpen }
    Pause.untilDoneIsWritten()
    try forEach(passages, .marked) { $0.mark() }
    dealt += try giveUpRefused(&passages, store, now, &outcomes)

    // Deliveries that began between the look and the marks: their recipients are in doubt.
    Pause.untilDoneIsWritten()
    let last = try settledLook()
    try forEach(passages, nil) { $0.noteDeliveries(last) }
    dealt += try giveUpRefused(&passages, store, now, &outcomes)
    var done: [QuarantineRecord] = []
    for passage in passages {
      let record = passage.record
      if record.facts.recipients == 0 {
        dealt += try giveUp(passage, because: .alreadyDone, store, now, &outcomes)
      } else {
        done.append(record)
      }
    }
    try step(.deliveriesNoted)
    try attempt { try ledger.recordMarked(done, at: now) }
    try step(.marksRecorded)
    try tell(done, now, &outcomes)
    try discard(done, store, now, &outcomes)
    return dealt + done.count
  }

  /// Takes each message through one step, on two threads; in tests that stop after a step, one by one.
  private func forEach(
    _ passages: [Passage], _ step: Step?, _ body: @Sendable (Passage) -> Void
  ) throws(Trouble) {
    guard stopAfter == nil else {
      for passage in passages {
        body(passage)
        if let step { try self.step(step) }
      }
      return
    }
    TwoThreads.run(passages.count) { index throws(Never) in
      body(passages[index])
      return passages[index].copyFailure.map { $0.kind == .exists } ?? true
    }
  }

  /// The qmail-queues that messages were given back by lately; asked only where one of these messages may be such a one.
  private func releasedPIDs(of passages: [Passage]) throws(Trouble) -> Set<Int32> {
    let births = passages.compactMap { passage in
      if case .open(.some) = passage.judgement { passage.record.identity.birth } else { nil }
    }
    guard let first = births.min() else { return [] }
    return try attempt { try ledger.releasePIDs(since: first - .seconds(86_400)) }
  }

  // MARK: The parts

  /// The next batch of chosen messages; goes round, so that postponed ones do not keep the others waiting.
  private func nextIntended(_ limit: Int) throws(Trouble) -> [QuarantineRecord] {
    var rows = try attempt {
      try ledger.quarantine([.intended], after: cursors.retiring, limit: limit)
    }
    if rows.isEmpty, cursors.retiring > 0 {
      cursors.retiring = 0
      rows = try attempt { try ledger.quarantine([.intended], limit: limit) }
    }
    cursors.retiring = rows.last?.id ?? 0
    return rows
  }

  /// The floors hold here too: a storm's intents may be many more than there is room for.
  func checkRoom() throws(Trouble) {
    let free: (space: Double, inodes: Double)
    do throws(FileError) { free = try Folder.free(places.state) } catch { throw .file(error) }
    if free.space < policy.quarantine.minimumFreeSpace {
      throw .other(
        "\(places.state): too little of the disk is free (quarantine: minimum-free-space); free some"
      )
    }
    if free.inodes < policy.quarantine.minimumFreeInodes {
      throw .other(
        "\(places.state): too few inodes are free (quarantine: minimum-free-inodes); free some")
    }
  }

  /// Back to `intended`: the queue as it was, the copy gone.
  private func postpone(_ passage: Passage, _ store: QuarantineStore, _ now: Timestamp)
    throws(Trouble)
  {
    try cancel(passage, store)
    try attempt { try ledger.move([passage.record], to: .intended, at: now) }
  }

  /// Gives up those that refused the step just made, and takes them out of `passages`.
  /// - Returns: how many rows are dealt with for good.
  private func giveUpRefused(
    _ passages: inout [Passage], _ store: QuarantineStore, _ now: Timestamp,
    _ outcomes: inout [Outcome]
  ) throws(Trouble) -> Int {
    var dealt = 0
    for passage in passages {
      guard let refusal = passage.refusal else { continue }
      dealt += try giveUp(passage, because: refusal, store, now, &outcomes)
    }
    passages.removeAll { $0.refusal != nil }
    return dealt
  }

  /// A step refused. Before the first mark the message is left in the queue; after it, the row stays `copied` and ``finishCopied(_:_:)``
  /// carries it forward.
  /// - Returns: 1 when the row is dealt with for good.
  private func giveUp(
    _ passage: Passage, because refusal: RetirementRefusal, _ store: QuarantineStore,
    _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) -> Int {
    switch refusal {
    case .gone, .notTheSame, .alreadyDone:
      try cancel(passage, store)
      try abandon([passage.record], why: "\(refusal)", now, &outcomes)
      return 1
    case .unprocessed:
      try postpone(passage, store, now)
      return 0
    case .damaged, .file, .store:
      passage.close()
      fail(
        "set aside", "\(passage.record.identity.id)", .refusal(refusal),
        incident: passage.record.incident, &outcomes)
      return 0
    }
  }

  private func cancel(_ passage: Passage, _ store: QuarantineStore) throws(Trouble) {
    do throws(RetirementRefusal) { try passage.cancel(from: store) } catch {
      throw .refusal(error)
    }
  }

  func abandon(
    _ records: [QuarantineRecord], why: String, _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    try attempt { try ledger.abandon(records, note: why, at: now) }
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
    var rows = try attempt {
      try ledger.quarantine([.copied], after: cursors.finishing, limit: Self.smallestBatch)
    }
    if rows.isEmpty, cursors.finishing > 0 {
      cursors.finishing = 0
      rows = try attempt { try ledger.quarantine([.copied], limit: Self.smallestBatch) }
    }
    cursors.finishing = rows.last?.id ?? 0
    if rows.isEmpty { return }
    let store = try quarantine()
    let look = try settledLook()
    for record in rows { try finish(record, store, look, now, &outcomes) }
  }

  /// Carries one half-done message to `marked`, or back to `intended`, or out.
  func finish(
    _ record: QuarantineRecord, _ store: QuarantineStore, _ look: DeliveriesInFlight,
    _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) {
    let outcome: Recovery.Outcome
    do throws(RetirementRefusal) {
      outcome = try recover(record.identity, store, look)
    } catch {
      fail(
        "set aside", "\(record.identity.id)", .refusal(error), incident: record.incident,
        &outcomes)
      return
    }
    switch outcome {
    case .postponed: return
    case .abandoned:
      if record.state == .copied {
        try attempt { try ledger.move([record], to: .intended, at: now) }
      }
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
