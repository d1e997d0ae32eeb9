import Mail

/// What the log needs remembered to be joined with the queue.
struct LogJoin: Sendable {
  struct Delivery: Sendable {
    var serial: Int
    var channel: Channel
    var domain: Domain
  }

  /// Deliveries that a log told of before it told of their message, as may be where stamps are equal.
  private var early: [UInt64: [(number: UInt64, channel: Channel, recipient: Address)]] = [:]

  mutating func expect(_ id: UInt64) {
    if early.count >= 1024 { early.removeAll() }
    early[id] = []
  }

  /// Whether the message of this number is still to be told of.
  mutating func hold(_ id: UInt64, _ number: UInt64, _ channel: Channel, _ recipient: Address)
    -> Bool
  {
    guard let held = early[id] else { return false }
    if held.count < 512 { early[id, default: []].append((number, channel, recipient)) }
    return true
  }

  mutating func held(_ id: UInt64) -> [(number: UInt64, channel: Channel, recipient: Address)] {
    early.removeValue(forKey: id) ?? []
  }

  /// Deliveries under way by their number, which begins anew with qmail-send. qmail-send runs at most 500 or so at a time.
  private var deliveries: [UInt64: Delivery] = [:]
  /// qmaild's and qmails's uid, learned from messages seen in both: the log gives every message a uid, and only those of
  /// others mean a local program.
  private var networkUID: UInt32?
  private var bounceUID: UInt32?
  /// And alias's, whose mail nobody here has written.
  private var aliasUID: UInt32?

  mutating func start(_ number: UInt64, _ delivery: Delivery) {
    if deliveries.count >= 4096 { deliveries.removeAll() }
    deliveries[number] = delivery
  }

  mutating func finish(_ number: UInt64) -> Delivery? { deliveries.removeValue(forKey: number) }

  mutating func learn(_ facts: MailFacts, logged uid: UInt32) {
    if facts.client != nil { networkUID = uid }
    if facts.traffic.isBounce { bounceUID = uid }
    if facts.isOfAlias { aliasUID = uid }
  }

  func isAlias(_ uid: UInt32) -> Bool { uid == aliasUID }

  func isNetwork(_ uid: UInt32) -> Bool { uid == networkUID }
  func isBounce(_ uid: UInt32) -> Bool { uid == bounceUID }
  /// The uid of a local program; nil while that cannot be told.
  func program(_ uid: UInt32) -> UInt32? {
    networkUID == nil || bounceUID == nil || isNetwork(uid) || isBounce(uid) ? nil : uid
  }
}

// What the log tells.
extension StormDetector {
  mutating func read(_ line: SendLogLine) {
    seesAll = true
    switch line {
    case .new(let id): log.expect(id)
    case .info(let id, _, let sender, let pid, let uid):
      begin(id, sender, pid, uid)
      for early in log.held(id) { start(early.number, id, early.channel, early.recipient) }
    case .starting(let number, let id, let channel, let recipient):
      if !log.hold(id, number, channel, recipient) { start(number, id, channel, recipient) }
    case .outcome(let number, let outcome, _):
      if let delivery = log.finish(number), mail.holds(delivery.serial) {
        finish(delivery, outcome)
      }
    case .end(let id):
      if let serial = mail.logged(id), !mail[serial].isSeen {
        mail[serial].isGone = true
        release(serial, leaving: 0)
      }
      mail.setLogged(id, nil)
    case .bounce, .status, .other: break
    }
  }

  private mutating func begin(_ id: UInt64, _ sender: Address, _ pid: Int, _ uid: UInt32) {
    stall.moved()
    // A log that lags behind tells of messages that are gone, and whose number another has by now.
    let queued = mail.queued(id, by: pid)
    let known = queued ?? mail.current(id).flatMap { mail[$0].queuedBy == nil ? $0 : nil }
    // One that waited in todo is told of long after its birth; the process is its name then.
    if let serial = known, !mail[serial].hasLog,
      queued != nil || abs(mail[serial].identity.birth.seconds(since: now)) <= 5,
      mail[serial].facts.sender == sender.lowercased
    {
      mail[serial].hasLog = true
      mail.setLogged(id, serial)
      log.learn(mail[serial].facts, logged: uid)
      return
    }
    var facts = MailFacts(logged: sender, uid: log.program(uid))
    if log.isBounce(uid) { facts.traffic = .bounceHome }
    if log.isNetwork(uid) { forwarding.cameIn(facts.sender) }
    if log.isAlias(uid) || isSentOn(facts) { facts.sendOn() }
    var message = TrackedMessage(
      identity: EntryIdentity(id: id, birth: now), facts: facts)
    message.hasLog = true
    message.loggedUID = uid
    ranks.arrived(facts, at: now, now: now)
    mail.setLogged(id, mail.insert(message))
  }

  private mutating func start(
    _ number: UInt64, _ id: UInt64, _ channel: Channel, _ recipient: Address
  ) {
    guard let serial = mail.logged(id) ?? mail.current(id) else { return }
    let domain = recipient.domain
    log.start(number, .init(serial: serial, channel: channel, domain: domain))
    mail[serial].hasLog = true
    guard !mail[serial].isSeen else { return }
    // Known from the log only: its recipients show one by one.
    ranks.add(Tally(recipients: 1), mail[serial].facts, at: now)
    if channel == .local {
      mail[serial].facts.localCount += 1
    } else {
      mail[serial].facts.remoteCount += 1
      mail[serial].facts.domains.note(domain)
    }
    if mail[serial].isCounted {
      if channel == .remote { addRecipient(serial) }
      return
    }
    countLogged(serial, channel, recipient)
  }

  /// The first delivery of a message not seen in the queue says which way it goes.
  private mutating func countLogged(_ serial: Int, _ channel: Channel, _ recipient: Address) {
    let message = mail[serial]
    guard message.facts.traffic == .unclear else { return }
    let isFromOutside = message.loggedUID.map { log.isNetwork($0) } ?? false
    if channel == .remote, message.facts.uid != nil,
      forwarding.isAnswer(to: StableHash.of(recipient.lowercased.bytes))
    {
      mail[serial].facts.sendOn()
      return
    }
    if channel == .remote, !isFromOutside || !localDomains.contains(recipient.domain) {
      correspondence.sent(by: message.facts.sender, recipients: 1, at: now)
      if let incident = home(serial) {
        join(serial, incident)
      } else {
        enroll(serial)
      }
    } else if isFromOutside {
      let sender = message.facts.sender
      let isNotice =
        sender.isBounceSender || sender.isDaemonLike && !localDomains.contains(sender.domain)
      mail[serial].facts.traffic = isNotice ? .notice : .inbound
      guard isNotice else { return }
      mail[serial].isUnsolicited = !correspondence.isAwaiting(recipient, at: now)
      if !mail[serial].isUnsolicited { correspondence.noticed(to: recipient, at: now) }
      noteVictims([recipient], isUnsolicited: mail[serial].isUnsolicited)
      if let incident = home(serial) {
        join(serial, incident)
      } else {
        enroll(serial)
      }
    }
  }

  private mutating func addRecipient(_ serial: Int) {
    let message = mail[serial]
    if let incident = message.incident {
      for place in episodes.indices where episodes[place].storm.incident == incident {
        episodes[place].storm.evidence.recipients += 1
      }
      return
    }
    for key in message.keys {
      count(key, Tally(recipients: 1), message.facts, at: message.identity.birth)
    }
  }

  private mutating func finish(_ delivery: LogJoin.Delivery, _ outcome: SendLogLine.Outcome) {
    let serial = delivery.serial
    let message = mail[serial]
    guard !message.isDisregarded else { return }
    if outcome != .deferral {
      let birth = max(
        finished[delivery.channel]?.birth ?? message.identity.birth, message.identity.birth)
      finished[delivery.channel] = (birth, now)
    }
    if message.lingering > 0, outcome != .deferral {
      release(serial, leaving: message.lingering - 1)
    }
    switch outcome {
    case .deferral:
      guard message.loggedDeferrals < message.facts.recipients,
        message.lingering < message.facts.recipients
      else { return }
      mail[serial].loggedDeferrals += 1
      noteBad(serial, 1, domain: delivery.domain)
      credit(serial, Tally(lingering: 1, stuck: message.stuck < message.facts.recipients ? 1 : 0))
    case .failure:
      mail[serial].loggedFailures += 1
      guard message.failed < mail[serial].loggedFailures else { return }
      if message.failed + message.delivered >= mail[serial].loggedFailures
        + message.loggedSuccesses,
        message.delivered > 0
      {
        // Taken for delivered when it left; the log knows better.
        credit(serial, Tally(delivered: -1))
        book.update(FailureBook.Key(message.facts)) { $0.presumed = max(0, $0.presumed - 1) }
      }
      fail(serial, 1)
    case .success where delivery.channel == .local && message.facts.goesOut:
      // A web form's copy to its owner always arrives, and says nothing of the others.
      ranks.add(Tally(delivered: 1), message.facts, at: now)
    case .success:
      mail[serial].loggedSuccesses += 1
      guard
        message.failed + message.delivered < message.loggedFailures + mail[serial].loggedSuccesses
      else { return }
      credit(serial, Tally(delivered: 1))
    }
  }
}
