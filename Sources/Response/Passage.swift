import Ledger
import Mail
import Policy
import QmailQueue

/// A message on its way through a batch.
final class Passage {
  /// What the look at the entry came to.
  enum Judgement {
    /// Its files are open. For a message of a storm from this machine: the qmail-queue it came by, which may have been a release.
    case open(queuedBy: Int32?)
    case abandon(why: String)
    case postpone
    case failed(RetirementRefusal)
  }

  var record: QuarantineRecord
  /// Why the latest step was not made.
  private(set) var refusal: RetirementRefusal?
  private var retirement: Retirement?

  init(_ record: QuarantineRecord) { self.record = record }

  var isOpen: Bool { retirement != nil }

  // MARK: The steps

  /// Reads the entry once more and opens it: whatever happened since it was chosen.
  func open(
    in layout: QueueLayout, _ queue: OpenQueue, _ policy: Policy, _ look: DeliveriesInFlight,
    _ now: Timestamp
  ) -> Judgement {
    do throws(RetirementRefusal) {
      return try opened(layout, queue, policy, look, now)
    } catch {
      switch error {
      case .gone: return .abandon(why: "it left the queue before it was set aside")
      case .notTheSame:
        return .abandon(why: "it left the queue before it was set aside, and its number was reused")
      case .alreadyDone, .damaged: return .abandon(why: "\(error)")
      case .unprocessed: return .postpone
      case .file, .store: return .failed(error)
      }
    }
  }

  private func opened(
    _ layout: QueueLayout, _ queue: OpenQueue, _ policy: Policy, _ look: DeliveriesInFlight,
    _ now: Timestamp
  ) throws(RetirementRefusal) -> Judgement {
    let age = now.seconds(since: record.identity.birth)
    if age >= 0, age < Responder.firstAttempt { return .postpone }
    let isOrdered = record.incident == nil
    // A message that an administrator chose was looked at first: its sender must be the same still.
    let sender = record.facts.sender.isNull ? nil : record.facts.sender
    var opened = try Retirement.open(record.identity, sender: sender, in: layout, queue)
    let entry = try opened.readEntry()
    if !isOrdered, let name = Protected.mail(entry, policy.protect) {
      return .abandon(why: "\(name) is on the protect list")
    }
    record.facts = QuarantineRecord.Facts(entry)
    if opened.isBusy(look) { return .postpone }
    retirement = consume opened
    guard !isOrdered, case .uid = entry.source else { return .open(queuedBy: nil) }
    return .open(queuedBy: entry.queuedBy.flatMap { Int32(exactly: $0) })
  }

  func copy(into store: QuarantineStore, at now: Timestamp, boot: String) throws(QuarantineError) {
    try retirement?.copy(into: store, at: now, boot: boot)
  }

  func moveBounceAside(into store: QuarantineStore) {
    make { retirement throws(RetirementRefusal) in try retirement.moveBounceAside(into: store) }
  }

  func isBusy(_ look: DeliveriesInFlight) -> Bool { retirement?.isBusy(look) ?? false }

  func mark() {
    make { retirement throws(RetirementRefusal) in _ = try retirement.mark() }
  }

  func noteDeliveries(_ look: DeliveriesInFlight) {
    make { retirement throws(RetirementRefusal) in try retirement.noteDeliveries(look) }
    let states = retirement?.recipients.map(\.state) ?? []
    record.facts.inDoubt = states.count { $0 == .inDoubt }
    record.facts.recipients = states.count { $0 == .marked || $0 == .inDoubt }
  }

  private func make(_ step: (inout Retirement) throws(RetirementRefusal) -> Void) {
    guard var taken = retirement.take() else { return }
    do throws(RetirementRefusal) { try step(&taken) } catch { refusal = error }
    retirement = consume taken
  }

  func cancel(from store: QuarantineStore) throws(RetirementRefusal) {
    guard let taken = retirement.take() else { return }
    try taken.cancel(from: store)
  }

  func close() { retirement = nil }
}
