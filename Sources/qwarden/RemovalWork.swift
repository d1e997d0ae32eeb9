import Mail
import QmailQueue
import Response

/// Carries an order out, waiting within bounds for messages that cannot be removed at this moment.
struct RemovalWork {
  /// How long a message being delivered is waited for when no time was given.
  static let patience = 5.0

  let hands: Responder
  let order: RemovalOrder
  /// Seconds; nil: messages in todo are not waited for.
  let wait: Double?
  /// A daemon carries out what is left.
  let isDaemonRunning: Bool
  let clock: () -> Timestamp
  /// Passes a moment, between two looks.
  let pause: () -> Void

  /// What is told of one message.
  struct Told: Sendable, Hashable {
    enum Name: String, Sendable {
      case removed, gone, left, unprocessed, failed
      case beingDelivered = "being-delivered"
    }

    var name: Name
    var why: String
    var inDoubt = 0
    /// It stays, and the same order given again may get it.
    var staysInQueue = false
  }

  struct Account {
    /// By the number each message had when it was chosen.
    var fates: [UInt64: Told] = [:]
    var failure: Outcome.Failure?

    func told(_ message: ChosenMessage) -> Told {
      fates[message.identity.id] ?? Told(name: .failed, why: "not touched", staysInQueue: true)
    }
  }

  func carryOut(_ messages: [ChosenMessage]) -> Account {
    var account = Account()
    let deadline = clock() + .milliseconds(Int64((wait ?? Self.patience) * 1000))
    var unprocessed: [UnprocessedMessage] = []
    for message in messages where message.isUnprocessed {
      if let found = UnprocessedMessage(message.identity, sender: message.sender, in: hands.layout)
      {
        unprocessed.append(found)
      } else {
        account.fates[message.identity.id] = Told(
          name: .gone, why: "it was taken in or left while the order was given; give it again",
          staysInQueue: true)
      }
    }
    let ready = messages.filter { !$0.isUnprocessed }.map {
      (identity: $0.identity, sender: $0.sender)
    }
    var delivering = remove(ready, &account)
    removeUnprocessed(&unprocessed, &account)
    let canWait = wait != nil && QmailSend.isRunning(hands.layout) != false
    while account.failure == nil, !delivering.isEmpty || (canWait && !unprocessed.isEmpty),
      clock() < deadline
    {
      pause()
      if canWait { delivering += takenIn(&unprocessed, &account) }
      delivering = remove(delivering, &account)
    }
    if account.failure == nil { removeUnprocessed(&unprocessed, &account) }
    for message in unprocessed { account.fates[message.identity.id] = stillUnprocessed }
    settle(delivering, &account)
    return account
  }

  /// - Returns: those that qmail is delivering. Of what failed nobody is told more than what the hands say.
  private func remove(
    _ messages: [(identity: EntryIdentity, sender: Address)], _ account: inout Account
  ) -> [(identity: EntryIdentity, sender: Address)] {
    var delivering: [(identity: EntryIdentity, sender: Address)] = []
    var rest = messages[...]
    let progress = Progress(isAlone: true, "messages dealt with")
    defer { progress.end() }
    while !rest.isEmpty, account.failure == nil {
      let lot = rest.prefix(Responder.largestLot)
      rest = rest.dropFirst(Responder.largestLot)
      let (fates, failure) = hands.remove(Array(lot), by: order, at: clock())
      account.failure = failure
      progress.advance(by: lot.count)
      for message in lot {
        guard let fate = fates[message.identity] else {
          account.fates[message.identity.id] = nil
          continue
        }
        if fate == .beingDelivered { delivering.append(message) }
        account.fates[message.identity.id] = told(fate)
      }
    }
    return delivering
  }

  /// Those that are still in todo, where qmail-send is stopped.
  private func removeUnprocessed(
    _ unprocessed: inout [UnprocessedMessage], _ account: inout Account
  ) {
    var rest = unprocessed[...]
    while !rest.isEmpty, account.failure == nil, QmailSend.isRunning(hands.layout) == false {
      let lot = rest.prefix(Responder.largestLot)
      let (fates, failure) = hands.removeUnprocessed(Array(lot), by: order, at: clock())
      account.failure = failure
      if fates.isEmpty { break }
      for (identity, fate) in fates { account.fates[identity.id] = told(fate) }
      rest = rest.dropFirst(lot.count)
    }
    // Where qmail-send was started meanwhile some have none.
    unprocessed.removeAll { account.fates[$0.identity.id] != nil }
  }

  /// Takes those out of `unprocessed` that qmail-send has taken in or that have left.
  private func takenIn(_ unprocessed: inout [UnprocessedMessage], _ account: inout Account)
    -> [(identity: EntryIdentity, sender: Address)]
  {
    var taken: [(identity: EntryIdentity, sender: Address)] = []
    unprocessed = unprocessed.filter { message in
      switch message.state(in: hands.layout) {
      case .waiting: return true
      case .takenIn(let identity): taken.append((identity, message.sender))
      case .gone: account.fates[message.identity.id] = told(.gone)
      }
      return false
    }
    return taken
  }

  /// What is being delivered still is left to the daemon; without one nobody would carry the order out, so it is taken back.
  private func settle(
    _ delivering: [(identity: EntryIdentity, sender: Address)], _ account: inout Account
  ) {
    if delivering.isEmpty { return }
    var why =
      "qmail is trying it at the moment; the daemon removes it when the attempt is over"
    if !isDaemonRunning {
      why = "qmail is trying it at the moment; it was left, give the order again or with --wait"
      account.failure =
        account.failure ?? hands.withdraw(delivering.map(\.identity), at: clock())
    }
    for (identity, _) in delivering {
      account.fates[identity.id] = Told(
        name: .beingDelivered, why: why, staysInQueue: !isDaemonRunning)
    }
  }

  private var stillUnprocessed: Told {
    let why =
      QmailSend.isRunning(hands.layout) == false
      ? "it is not taken in yet, and qmail-send does not run: only root can remove it now"
      : "it is not taken in by qmail-send yet; --wait waits for that"
    return Told(name: .unprocessed, why: why, staysInQueue: true)
  }

  private func told(_ fate: RemovalFate) -> Told {
    switch fate {
    case .removed(let inDoubt): Told(name: .removed, why: "", inDoubt: inDoubt)
    case .gone: Told(name: .gone, why: "it left the queue meanwhile")
    case .left(let why): Told(name: .left, why: why)
    case .beingDelivered: Told(name: .beingDelivered, why: "qmail is trying it", staysInQueue: true)
    case .failed(let why): Told(name: .failed, why: why, staysInQueue: true)
    }
  }
}
