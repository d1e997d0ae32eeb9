import Files
import Ledger
import Mail
import Policy
import QmailQueue
import Storms

/// A batch of messages on its way out of the queue, through the steps in the one order that is safe. Each step's rows are committed before
/// the next step touches anything; see ``QuarantineRecord/State`` for what each state promises.
///
/// A batch is one thread's; two may be under way at once.
struct RetiringBatch: Sendable {
  let places: Responder.Places
  let layout: QueueLayout
  let policy: Policy
  let ledger: Ledger
  let look: @Sendable () throws -> DeliveriesInFlight
  let stopAfter: (@Sendable (Step) -> Bool)?
  let now: Timestamp
  /// More recipients than this, about, are not held at once: of messages with very many a part of the batch is taken through all steps
  /// before the next is opened.
  let mostRecipients: Int
  /// When so much has been done, see ``Responder/mostBytes``, the rest is left as it is.
  let mostBytes: Int64

  /// What came of it, for whoever tells it. What is here is in the ledger.
  struct Account: Sendable {
    /// Marked.
    var done: [QuarantineRecord] = []
    /// Left in the queue for good, and why.
    var abandoned: [(why: String, records: [QuarantineRecord])] = []
    /// A step failed; the row stays as it is.
    var failures: [(record: QuarantineRecord, refusal: RetirementRefusal)] = []
    /// Copied already, by a process that was killed or that has failed: to be finished one by one.
    var begun: [QuarantineRecord] = []
    /// Of the messages that were opened, with a kilobyte for each recipient.
    var bytes: Int64 = 0
    /// Messages for a later tick, as so many bytes have been copied in this one.
    var left = 0

    mutating func abandon(_ record: QuarantineRecord, _ why: String) {
      if abandoned.last?.why == why {
        abandoned[abandoned.count - 1].records.append(record)
      } else {
        abandoned.append((why, [record]))
      }
    }

    mutating func add(_ other: Account) {
      done += other.done
      abandoned += other.abandoned
      failures += other.failures
      begun += other.begun
      left += other.left
    }
  }

  /// Takes them through all steps. What throws stops the batch where it is; rows that are `copied` by then are finished one by one later.
  func take(_ rows: ArraySlice<QuarantineRecord>, _ account: inout Account) throws(Trouble) {
    try step(.quarantineIntended)
    account.begun += rows.filter { $0.state == .copied }
    let rows = rows.filter { $0.state == .intended }
    if rows.isEmpty { return }
    // A deletion needs room for a lot only, and often it is made because there is none.
    if rows.contains(where: { !$0.keepsNothing }) {
      try Responder.checkRoom(places.state, policy)
    }
    // One of its own: what is to be flushed is this batch's, and no other waits for it.
    let store = try attempt { try QuarantineStore(path: places.quarantine, creating: false) }
    var rest = rows[...]
    while !rest.isEmpty, account.bytes < mostBytes {
      try takeSome(of: &rest, store, &account)
    }
    account.left += rest.count
  }

  private func takeSome(
    of rows: inout ArraySlice<QuarantineRecord>, _ store: QuarantineStore, _ account: inout Account
  ) throws(Trouble) {
    // Copies. The queue is only read.
    var passages = try opened(&rows, &account)
    try copy(&passages, into: store, &account)
    if passages.isEmpty { return }
    try secureCopies(of: passages.map(\.record), in: store)
    for passage in passages { passage.record.state = .copied }

    // Bounces out of qmail-send's sight, for good before the first mark.
    for passage in passages {
      passage.moveBounceAside(into: store)
      try step(.bounceAside)
    }
    try giveUpRefused(&passages, store, &account)
    try attempt { try store.syncBatch() }
    try step(.bouncesFlushed)

    // Who is being delivered to right now is not known to be pending: leave it for a later lot.
    let before = try DeliveriesInFlight.settled(look)
    for passage in passages where passage.isBusy(before) { try postpone(passage, store) }
    passages.removeAll { !$0.isOpen }
    Pause.untilDoneIsWritten()
    for passage in passages {
      passage.mark()
      try step(.marked)
    }
    try giveUpRefused(&passages, store, &account)

    // Deliveries that began between the look and the marks: their recipients are in doubt.
    Pause.untilDoneIsWritten()
    let after = try DeliveriesInFlight.settled(look)
    for passage in passages { passage.noteDeliveries(after) }
    try giveUpRefused(&passages, store, &account)
    for passage in passages where passage.record.facts.recipients == 0 {
      try giveUp(passage, because: .alreadyDone, store, &account)
    }
    let done = passages.map(\.record).filter { $0.facts.recipients > 0 }
    try step(.deliveriesNoted)
    try attempt { try ledger.recordMarked(done, at: now) }
    account.done += done
    try step(.marksRecorded)
  }

  /// Reads each entry once more and opens it: whatever happened since it was chosen.
  private func opened(_ rows: inout ArraySlice<QuarantineRecord>, _ account: inout Account)
    throws(Trouble) -> [Passage]
  {
    let queue = try attempt { try OpenQueue(opening: layout) }
    let deliveries = try DeliveriesInFlight.settled(look)
    var passages: [Passage] = []
    var left = Account()
    var pids: [(Passage, Int32)] = []
    var recipients = 0
    var objections: [Int: String] = [:]
    for incident in Set(rows.compactMap(\.incident)) {
      objections[incident] = try objection(to: incident)
    }
    while recipients < mostRecipients, account.bytes < mostBytes, let row = rows.popFirst() {
      if let why = row.incident.flatMap({ objections[$0] }) {
        left.abandon(row, why)
        continue
      }
      let passage = Passage(row)
      switch passage.open(in: layout, queue, policy, deliveries, now) {
      case .open(let pid):
        passages.append(passage)
        recipients += passage.record.facts.recipients
        account.bytes += passage.record.facts.size + 1024 * Int64(passage.record.facts.recipients)
        if let pid { pids.append((passage, pid)) }
      case .abandon(let why): left.abandon(passage.record, why)
      case .postpone: break
      case .failed(let refusal): account.failures.append((passage.record, refusal))
      }
    }
    // Asked only where one of these messages may be one that was given back lately.
    if let first = pids.map(\.0.record.identity.birth).min() {
      let released = try attempt {
        try ledger.released(by: Set(pids.map(\.1)), since: first - .seconds(86_400))
      }
      for (passage, pid) in pids where released.contains(pid) {
        let birth = passage.record.identity.birth
        if try attempt({ try ledger.wasReleased(pid: pid, before: birth) }) {
          passage.close()
          left.abandon(
            passage.record, "it was released from quarantine, and is not set aside again")
        }
      }
      passages.removeAll { !$0.isOpen }
    }
    for (why, records) in left.abandoned { try abandon(records, why, &account) }
    return passages
  }

  /// Why a storm's messages are left in the queue after all: the policy may have been changed since they were chosen.
  private func objection(to incident: Int) throws(Trouble) -> String? {
    if policy.mode == .observe {
      return "the policy was changed to observe mode before it was set aside"
    }
    let kind = try attempt { try ledger.incident(incident)?.kind }
    let isMeant = policy.quarantine.isEnabled && kind.map(policy.quarantine.kinds.contains) ?? true
    return isMeant ? nil : "the policy was changed before it was set aside"
  }

  private func copy(
    _ passages: inout [Passage], into store: QuarantineStore, _ account: inout Account
  ) throws(Trouble) {
    let boot = WallClock.bootID()
    for (index, passage) in passages.enumerated() {
      do throws(QuarantineError) {
        try passage.copy(into: store, at: now, boot: boot)
      } catch {
        switch error.kind {
        case .exists: break
        case .damaged, .foreign, .missing:
          // What stands in its place is no copy of ours.
          passage.close()
          account.failures.append((passage.record, .store(error)))
          continue
        case .file:
          // Most likely there is no room: what there is of this batch goes.
          for passage in passages[..<index] { try? passage.cancel(from: store) }
          throw .store(error)
        }
        // A copy without its row: left by a process that was killed. Nothing was marked, or recovery will see it.
        passage.close()
        account.begun.append(passage.record)
      }
      try step(.copied)
    }
    passages.removeAll { !$0.isOpen }
  }

  /// Makes the copies outlive the machine, and commits that. Nothing of the queue may be touched before.
  func secureCopies(of records: [QuarantineRecord], in store: QuarantineStore) throws(Trouble) {
    try attempt { try store.syncBatch() }
    try step(.copiesFlushed)
    try attempt { try ledger.recordCopied(records, at: now) }
    try step(.copiesRecorded)
  }

  // MARK: Those that leave the batch

  private func abandon(
    _ records: [QuarantineRecord], _ why: String, _ account: inout Account
  ) throws(Trouble) {
    try attempt { try ledger.abandon(records, note: why, at: now) }
    for record in records { account.abandon(record, why) }
  }

  /// Back to `intended`: the queue as it was, the copy gone.
  private func postpone(_ passage: Passage, _ store: QuarantineStore) throws(Trouble) {
    try attempt { try passage.cancel(from: store) }
    try attempt { try ledger.move([passage.record], to: .intended, at: now) }
  }

  /// Gives up those that refused the step just made, and takes them out of `passages`.
  private func giveUpRefused(
    _ passages: inout [Passage], _ store: QuarantineStore, _ account: inout Account
  ) throws(Trouble) {
    for passage in passages {
      if let refusal = passage.refusal { try giveUp(passage, because: refusal, store, &account) }
    }
    passages.removeAll { $0.refusal != nil }
  }

  /// A step refused. Before the first mark the message is left in the queue; after it, the row stays `copied` and is carried forward
  /// as what was left half done.
  private func giveUp(
    _ passage: Passage, because refusal: RetirementRefusal, _ store: QuarantineStore,
    _ account: inout Account
  ) throws(Trouble) {
    switch refusal {
    case .gone, .notTheSame, .alreadyDone:
      try attempt { try passage.cancel(from: store) }
      try abandon([passage.record], "\(refusal)", &account)
    case .unprocessed: try postpone(passage, store)
    case .damaged, .file, .store:
      passage.close()
      account.failures.append((passage.record, refusal))
    }
  }

  private func step(_ step: Step) throws(Trouble) {
    if stopAfter?(step) == true { throw .stopped }
  }
}
