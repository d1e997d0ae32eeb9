import Ledger
import Mail
import Policy
import QmailQueue
import Synchronization

/// A message on its way through a batch. Each step is made by one thread, which of them does not matter.
final class Passage: Sendable {
  /// What the look at the entry came to.
  enum Judgement: Sendable {
    /// Its files are open. For a message of a storm from this machine: the qmail-queue it came by, which may have been a release.
    case open(queuedBy: Int32?)
    case abandon(why: String)
    case postpone
    case failed(RetirementRefusal)
  }

  private struct State: ~Copyable, Sendable {
    var record: QuarantineRecord
    var retirement: Retirement?
    var judgement = Judgement.postpone
    var refusal: RetirementRefusal?
    var copyFailure: QuarantineError?
  }

  private let state: Mutex<State>

  init(_ record: QuarantineRecord) { state = Mutex(State(record: record)) }

  var record: QuarantineRecord { state.withLock { $0.record } }
  var judgement: Judgement { state.withLock { $0.judgement } }
  /// Why the latest step was not made.
  var refusal: RetirementRefusal? { state.withLock { $0.refusal } }
  var copyFailure: QuarantineError? { state.withLock { $0.copyFailure } }
  var isOpen: Bool { state.withLock { $0.retirement != nil } }

  func change(_ body: (inout QuarantineRecord) -> Void) { state.withLock { body(&$0.record) } }

  // MARK: The steps

  /// Reads the entry once more and opens it: whatever happened since it was chosen.
  func open(by opening: Opening) {
    state.withLock { state in
      do throws(RetirementRefusal) {
        state.judgement = try opening.open(&state.record, &state.retirement)
      } catch {
        state.judgement =
          switch error {
          case .gone: .abandon(why: "it left the queue before it was set aside")
          case .notTheSame:
            .abandon(
              why: "it left the queue before it was set aside, and its number was reused")
          case .alreadyDone, .damaged: .abandon(why: "\(error)")
          case .unprocessed: .postpone
          case .file, .store: .failed(error)
          }
      }
      if case .open = state.judgement { return }
      state.retirement = nil
    }
  }

  func copy(into store: QuarantineStore, at now: Timestamp, boot: String) {
    state.withLock { state in
      do throws(QuarantineError) {
        try state.retirement?.copy(into: store, at: now, boot: boot)
      } catch { state.copyFailure = error }
    }
  }

  func moveBounceAside(into store: QuarantineStore) {
    make { retirement throws(RetirementRefusal) in try retirement.moveBounceAside(into: store) }
  }

  func isBusy(_ look: DeliveriesInFlight) -> Bool {
    state.withLock { $0.retirement?.isBusy(look) ?? false }
  }

  func mark() {
    make { retirement throws(RetirementRefusal) in _ = try retirement.mark() }
  }

  func noteDeliveries(_ look: DeliveriesInFlight) {
    make { retirement throws(RetirementRefusal) in try retirement.noteDeliveries(look) }
    state.withLock { state in
      let states = state.retirement?.recipients.map(\.state) ?? []
      state.record.facts.inDoubt = states.count { $0 == .inDoubt }
      state.record.facts.recipients = states.count { $0 == .marked || $0 == .inDoubt }
    }
  }

  private func make(_ step: (inout Retirement) throws(RetirementRefusal) -> Void) {
    state.withLock { state in
      guard var retirement = state.retirement.take() else { return }
      do throws(RetirementRefusal) { try step(&retirement) } catch { state.refusal = error }
      state.retirement = consume retirement
    }
  }

  func cancel(from store: QuarantineStore) throws(RetirementRefusal) {
    try state.withLock { state throws(RetirementRefusal) in
      guard let retirement = state.retirement.take() else { return }
      try retirement.cancel(from: store)
    }
  }

  func close() { state.withLock { $0.retirement = nil } }
}

/// How a batch's messages are looked at before they are copied.
struct Opening: Sendable {
  let layout: QueueLayout
  let queue: OpenQueue
  let policy: Policy
  let look: DeliveriesInFlight
  let now: Timestamp

  func open(_ record: inout QuarantineRecord, _ opened: inout Retirement?)
    throws(RetirementRefusal) -> Passage.Judgement
  {
    let age = now.seconds(since: record.identity.birth)
    if age >= 0, age < Responder.firstAttempt { return .postpone }
    let isOrdered = record.incident == nil
    if !isOrdered, policy.mode == .observe {
      return .abandon(why: "the policy was changed to observe mode before it was set aside")
    }
    // A message that an administrator chose was looked at first: its sender must be the same still.
    let sender = record.facts.sender.isNull ? nil : record.facts.sender
    var retirement = try Retirement.open(record.identity, sender: sender, in: layout, queue)
    let entry = try retirement.readEntry()
    if !isOrdered, let name = Protected.mail(entry, policy.protect) {
      return .abandon(why: "\(name) is on the protect list")
    }
    record.facts = QuarantineRecord.Facts(entry)
    if retirement.isBusy(look) { return .postpone }
    opened = consume retirement
    guard !isOrdered, case .uid = entry.source else { return .open(queuedBy: nil) }
    return .open(queuedBy: entry.queuedBy.flatMap { Int32(exactly: $0) })
  }
}
