import Files
import Ledger
import Mail
import Policy
import QmailQueue

/// An administrator's order to take messages out of the queue. It stands above the policy: it holds in observe mode too, and the
/// protect list does not stop it.
public struct RemovalOrder: Sendable, Hashable {
  public var by: String
  public var reason: String
  /// Whether a copy is kept, for as long as the policy says; without one nothing can be put back.
  public var keepsCopy: Bool

  public init(by: String, reason: String, keepsCopy: Bool) {
    self.by = by
    self.reason = reason
    self.keepsCopy = keepsCopy
  }

  var note: String { reason.isEmpty ? "by \(by)" : "by \(by): \(reason)" }
}

/// What became of a message that an administrator ordered out of the queue.
public enum RemovalFate: Sendable, Hashable {
  /// Marked; qmail-send removes it at its next pass. A delivery under way may have reached so many of its recipients.
  case removed(inDoubt: Int)
  /// It left the queue before the hand fell; its number may be another message's now.
  case gone
  /// Left in the queue, and why.
  case left(String)
  /// qmail is trying it at the moment; the order stands, and a later call or the daemon's tick carries it out.
  case beingDelivered
  /// Something failed on the way, and what. What was begun is finished at the daemon's next start.
  case failed(String)
}

/// A message still in todo: it cannot be removed before qmail-send has taken it in, and gets its lasting identity only then.
public struct UnprocessedMessage: Sendable, Hashable {
  /// With the mtime of `todo/ID`.
  public let identity: EntryIdentity
  public let sender: Address
  /// mtime of `mess/ID`, which qmail-queue writes and nobody changes: it tells the message from a later one of the same number.
  let written: Timestamp

  /// - Returns: nil when the message is not in todo any more.
  public init?(_ identity: EntryIdentity, sender: Address, in layout: QueueLayout) {
    guard let mess = try? FileStatus.of(layout.path(.mess, identity.id)),
      case .entry(let entry) = EntryReader(layout: layout).read(identity.id), entry.isUnprocessed,
      entry.identity == identity, entry.sender == sender
    else { return nil }
    self.identity = identity
    self.sender = sender
    written = mess.modified
  }

  /// What has become of it by now.
  public enum State: Sendable, Hashable {
    case waiting
    /// Taken in by qmail-send, under this identity.
    case takenIn(EntryIdentity)
    case gone
  }

  /// Looks at the queue.
  public func state(in layout: QueueLayout) -> State {
    switch EntryReader(layout: layout).read(identity.id) {
    case .gone: return .gone
    // qmail-send is writing its files.
    case .damaged: return .waiting
    case .entry(let entry):
      if entry.isUnprocessed { return entry.identity == identity ? .waiting : .gone }
      let mess = try? FileStatus.of(layout.path(.mess, identity.id))
      return mess?.modified == written && entry.sender == sender ? .takenIn(entry.identity) : .gone
    }
  }
}

/// Orders of an administrator, carried out at once and beside a running daemon: each lot is taken through all steps under the
/// hands' lock.
extension Responder {
  /// Takes messages out of the queue. Each part of a lot is committed to the ledger just before it is touched, so that an order broken off
  /// leaves little behind.
  /// - Returns: what became of each message; and what stopped the work, if anything did: messages without a fate were not touched.
  public func remove(
    _ messages: [(identity: EntryIdentity, sender: Address)], by order: RemovalOrder,
    at now: Timestamp
  ) -> (fates: [EntryIdentity: RemovalFate], failure: Outcome.Failure?) {
    carryOut(messages, by: order, at: now) { lot, isHeld, outcomes throws(Trouble) in
      // Before anything is written down. A deletion needs room for a lot only, and often it is made because there is none.
      if order.keepsCopy { try checkRoom() }
      let keeping = keeping(order)
      _ = try retire(lot.count, now, &outcomes) { [ledger] part throws(Trouble) in
        try attempt {
          try ledger.orderQuarantine(of: lot[part], note: order.note, keeping: keeping, at: now)
        }[...]
      }
      // qmail-send is stopped: nobody else ends what is marked now.
      if isHeld { try removeForQmail(lot.map(\.identity), now, &outcomes) }
      return true
    }
  }

  typealias Chosen = (identity: EntryIdentity, sender: Address)

  /// - Parameter body: takes one lot through all steps, under the hands' lock and, where `isHeld`, with qmail-send kept from starting;
  ///   false: nothing was touched.
  func carryOut(
    _ messages: [Chosen], by order: RemovalOrder, at now: Timestamp,
    _ body: (_ lot: [Chosen], _ isHeld: Bool, _ outcomes: inout [Outcome]) throws(Trouble) -> Bool
  ) -> (fates: [EntryIdentity: RemovalFate], failure: Outcome.Failure?) {
    var fates: [EntryIdentity: RemovalFate] = [:]
    var rest = messages[...]
    let isStopped = mayActForQmail
    while !rest.isEmpty {
      let lot = rest.prefix(lotSize.messages)
      rest = rest.dropFirst(lot.count)
      let begun = WallClock.monotonic()
      var outcomes: [Outcome] = []
      do throws(Trouble) {
        var isDone = false
        try withHands { () throws(Trouble) in
          try withQmailHeldOff(if: isStopped) { isHeld throws(Trouble) in
            isDone = try body(Array(lot), isHeld, &outcomes)
          }
        }
        if !isDone { return (fates, nil) }
        lotSize.lasted(WallClock.monotonic() - begun, lot.count)
        for case .quarantined(let record) in outcomes {
          fates[record.identity] = .removed(inDoubt: record.facts.inDoubt)
        }
        let others = lot.map(\.identity).filter { fates[$0] == nil }
        let rows = try attempt { try ledger.quarantine(of: others) }
        for identity in others { fates[identity] = fate(of: identity, rows[identity], outcomes) }
      } catch {
        let left = messages.filter { fates[$0.identity] == nil }
        let standing = takeBack(left, after: error, at: now)
        let rows = (try? ledger.quarantine(of: lot.map(\.identity))) ?? [:]
        for (identity, _) in lot {
          let fate = fate(of: identity, rows[identity], outcomes)
          switch (fate, rows[identity]?.state) {
          case (.removed, _), (_, .copied): fates[identity] = fate
          case (_, .intended): fates[identity] = standing.map { .failed($0) }
          default: break
          }
        }
        return (
          fates,
          Outcome.Failure(
            order.keepsCopy ? "set aside" : "delete", "messages", why: error.why,
            exitCode: error.exitCode)
        )
      }
    }
    return (fates, nil)
  }

  private func keeping(_ order: RemovalOrder) -> Duration? {
    order.keepsCopy ? policy.quarantine.keep : nil
  }

  /// Commits the order, and finishes what another process has begun with these messages.
  /// - Returns: the rows that nothing has been done for yet.
  func intend(
    _ lot: [Chosen], by order: RemovalOrder, _ now: Timestamp, _ outcomes: inout [Outcome]
  ) throws(Trouble) -> [QuarantineRecord] {
    let rows = try attempt {
      try ledger.orderQuarantine(
        of: lot[...], note: order.note, keeping: keeping(order), at: now)
    }
    try step(.quarantineIntended)
    try finish(rows.filter { $0.state == .copied }, now, &outcomes)
    return rows.filter { $0.state == .intended }
  }

  /// An order that failed leaves nothing behind that the daemon would carry out later: what was not touched is told as that.
  /// - Returns: why it stands nevertheless.
  private func takeBack(_ messages: [Chosen], after trouble: Trouble, at now: Timestamp) -> String?
  {
    switch trouble {
    // Nothing was written down; or a test wants it as a kill leaves it.
    case .busy, .stopped: return nil
    default: break
    }
    return withdraw(messages.map(\.identity), at: now).map {
      "it was not touched, but the order stands and the daemon will carry it out: \($0.why)"
    }
  }

  /// Takes back orders that could not be carried out yet. What a storm's response chose stays chosen.
  public func withdraw(_ identities: [EntryIdentity], at now: Timestamp) -> Outcome.Failure? {
    do throws(Trouble) {
      try withHands { () throws(Trouble) in
        try attempt {
          let rows = try ledger.quarantine(of: identities).values.filter {
            $0.state == .intended && $0.incident == nil
          }
          try ledger.abandon(rows, note: "the order was withdrawn", at: now)
        }
      }
      return nil
    } catch {
      return Outcome.Failure(
        "withdraw", "the order", why: error.why, exitCode: error.exitCode)
    }
  }

  /// The ledger says it, whoever carried the order out.
  private func fate(
    of identity: EntryIdentity, _ row: QuarantineRecord?, _ outcomes: [Outcome]
  ) -> RemovalFate {
    switch row?.state {
    case .intended, .copied:
      for case .failed(let failure) in outcomes where failure.value == "\(identity.id)" {
        return .failed(failure.why)
      }
      return row?.state == .copied
        ? .failed("it is copied and not marked yet; the daemon finishes that at its next look")
        : .beingDelivered
    case .marked, .gone, .expiring, .expired, .releasing, .releaseInDoubt, .released:
      return .removed(inDoubt: row?.facts.inDoubt ?? 0)
    case .abandoned, nil: break
    }
    guard case .entry(let entry) = EntryReader(layout: layout).read(identity.id),
      entry.identity == identity
    else { return .gone }
    for case .abandoned(let record) in outcomes where record.identity == identity {
      return .left(record.note ?? "it was left in the queue")
    }
    return .left(row?.note ?? "it was left in the queue")
  }
}
