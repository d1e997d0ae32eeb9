import Mail

/// What is known of one possible offender: its volume, its outcomes, its normal.
struct Group: Sendable {
  var window: TallyWindow
  var test: SequentialTest
  /// Recipient domains of its messages, and of those recipients that fail or wait.
  var domains: Spread
  var badDomains: Spread
  var senders: Spread
  /// Whom its messages go to, as far as they were seen.
  var circles = Circles()
  var normal = Baseline()
  /// Earliest time of the next full look, so that a big sender does not cost one for each message.
  var nextLook = Timestamp(nanoseconds: .min)

  init(_ settings: DetectorSettings) {
    window = TallyWindow(settings.window)
    test = SequentialTest(settings)
    domains = Spread(window: settings.window)
    badDomains = Spread(window: settings.window)
    senders = Spread(window: settings.window)
  }

  /// Gives the memory of what is forgotten anyway back, if nothing has come for a whole window.
  mutating func rest(at time: Timestamp) {
    guard window.isSilent(at: time) else { return }
    window.rest()
    domains.rest(at: time)
    badDomains.rest(at: time)
    senders.rest(at: time)
  }

  /// Puts the figures of its window where those of a storm go.
  func count(in evidence: inout Evidence) {
    let sum = window.sum
    evidence.messages = Int(sum.messages)
    evidence.recipients = Int(sum.recipients)
    evidence.failed = Int(max(0, sum.failed))
    evidence.delivered = Int(max(0, sum.delivered))
    evidence.lingering = Int(max(0, sum.lingering))
    evidence.recipientDomains = domains.distinct
    evidence.senders = senders.distinct
  }

  /// Forgets what now belongs to a storm, keeping the learned normal.
  mutating func restart(_ settings: DetectorSettings) {
    let learned = normal
    self = Group(settings)
    normal = learned
    normal.taint()
  }

  /// Why this group is a storm.
  enum Verdict: Sendable {
    /// The sequential test on permanent failures.
    case failures
    /// Deferred everywhere, and little succeeds.
    case deferrals
    /// A flood by its looks: from a client strange to the account, under made-up senders, or refused and deferred too often for honest mail.
    /// Told of; acted on only once it fails.
    case suspicion
    /// Accepted everywhere, or to the same people always, but far more than usual: only told of, since an honest invoice run or alarm
    /// looks the same.
    case volume
  }

  /// A sender of its own for most messages.
  var isRotating: Bool {
    let names = senders.distinct
    return names >= 15 && names * 10 >= Int(window.sum.messages) * 6
  }

  /// To the same few people again and again: that one of them has left is one fact, and not one for each message.
  private var isRepeated: Bool {
    window.sum.seen >= 8 && window.sum.repeated * 4 >= window.sum.seen * 3
  }

  /// Volume over the floor.
  ///
  /// - Parameter seenShare: of its messages about so many were seen.
  func isBusy(_ settings: DetectorSettings, seenShare: Double) -> Bool {
    let count = Int(Double(window.sum.messages) / seenShare)
    let isOver =
      count >= settings.messages
      || Double(window.sum.recipients) >= seenShare * Double(settings.recipients)
    return isOver && settings.isEnough(window.sum)
  }

  /// And over the learned normal.
  private func isUnusual(_ settings: DetectorSettings) -> Bool {
    guard let usual = normal.normal, let limit = normal.limit else { return true }
    // Failures that are proven speak for themselves sooner.
    let times = test.isProven ? min(1.5, settings.timesNormal) : settings.timesNormal
    let counted = Double(window.sum.messages)
    return counted >= times * usual && (test.isProven || counted >= limit)
  }

  /// - Parameter isWide: the group may hold many innocent senders (a client, a uid, a domain).
  func verdict(
    _ settings: DetectorSettings, seenShare: Double, isWide: Bool, isOutage: Bool
  ) -> Verdict? {
    guard isBusy(settings, seenShare: seenShare) else { return nil }
    let sum = window.sum
    let failed = Int(max(0, sum.failed))
    let delivered = Int(max(0, sum.delivered))
    let lingering = Int(max(0, sum.lingering))
    // The log does not tell of marks.
    let isList = sum.listMarked > 0 && sum.listMarked * 2 >= sum.seen
    let finished = failed + delivered
    // Many senders who all fail at one domain: that domain refuses us, and nobody here is to blame.
    let isRefusal = isWide && badDomains.topShare > 0.6 && senders.distinct > 4
    let bad = lingering + failed
    let all = bad + delivered
    // Of one message to many, failures may all be seen before the first delivery.
    if sum.messages < 8, bad * 3 < Int(sum.recipients) { return nil }
    let isStrange = !isList && sum.strange >= 8 && sum.strange * 10 >= sum.seen * 8
    // Failures may be seen sooner than deliveries: a tenth of all recipients must have failed, whatever is known of the rest.
    if test.isProven && !isRefusal && failed * 10 >= Int(sum.recipients) {
      // Where nearly all is refused, nobody misses it.
      let isAlarm = isRepeated && failed * 5 < finished * 4
      if isList {
        // A list that has lost a domain fails there and nowhere else.
        let isOfOne = badDomains.topShare > 0.6
        if failed >= 30 && failed * 2 >= finished {
          return isAlarm || isOfOne ? .volume : .failures
        }
      } else if failed >= 8 {
        // An old address list may fail by a third.
        if isStrange { return .failures }
        if Share(failed, of: finished).isOver(0.35, deviations: 3) {
          return isAlarm ? .volume : .failures
        }
      }
    }
    // Failures that are proven are never normal, and what the owner usually sends says nothing of a stranger.
    let isNews = isStrange || isUnusual(settings)
    // Nor is what waits while other mail of it fails: our own line down would only let it wait.
    guard isNews || failed >= 8 && failed * 10 >= finished * 3 else { return nil }
    if isStrange, failed >= 8, failed * 20 >= finished * 3 { return .failures }
    let stuck = Int(sum.stuck)
    let isSpread =
      badDomains.distinct >= settings.deferredDomains && badDomains.topShare <= 0.5
    if !isOutage, isSpread {
      if isList {
        if stuck >= 10 * settings.deferredRecipients && bad * 10 >= all * 9 { return .deferrals }
      } else if stuck >= settings.deferredRecipients && bad * 10 >= all * 7 {
        return .deferrals
      } else if lingering >= settings.deferredRecipients, failed >= 8,
        failed * 10 >= finished * 3, failed * 10 >= Int(sum.recipients), bad * 2 >= all
      {
        // Failures and waiting together need not wait as long.
        return .deferrals
      }
    }
    guard isNews else { return nil }
    if !isList, domains.distinct >= settings.deferredDomains {
      if isStrange { return .suspicion }
      // Strangers' mail that a server passes on to the same boxes rotates too.
      if isRotating, !isRefusal, sum.repeated * 3 <= sum.seen { return .suspicion }
      // Refused here and deferred there, over many domains: an old address list only fails, a provider's outage only defers.
      if !isOutage, isSpread, failed >= 8, stuck >= 8, finished + stuck >= Int(sum.recipients) / 2,
        Share(stuck, of: finished + stuck).isOver(0.08, deviations: 2),
        failed * 100 >= finished * 15,
        Share(failed + stuck, of: finished + stuck).isOver(0.25, deviations: 2)
      {
        return .suspicion
      }
    }
    let accepted = settings.acceptedMessages
    if !isList, Int(sum.messages) >= accepted || Int(sum.recipients) >= 10 * accepted,
      domains.distinct >= 100
    {
      return .volume
    }
    return nil
  }
}

/// The last sixteen different circles of people that somebody wrote to, in place: a group has arrays enough.
struct Circles: Sendable {
  private var hashes = InlineArray<16, UInt32>(repeating: 0)
  private var next = 0

  /// Whether it is one of them; it is from now on.
  mutating func isKnown(_ circle: UInt64) -> Bool {
    let hash = UInt32(truncatingIfNeeded: circle)
    // All of them always: so they are compared side by side.
    var equal: UInt32 = 0
    for place in hashes.indices { equal |= hashes[place] == hash ? 1 : 0 }
    if equal != 0 { return true }
    hashes[next] = hash
    next = (next + 1) % hashes.count
    return false
  }
}

/// A part of a whole that was seen by chance.
struct Share {
  private let part: Double
  private let whole: Double
  init(_ part: Int, of whole: Int) {
    (self.part, self.whole) = (Double(part), Double(max(1, whole)))
  }

  /// Whether the true share is over this, so many standard deviations sure (the lower end of Wilson's interval).
  func isOver(_ bound: Double, deviations z: Double) -> Bool {
    let share = part / whole
    let spread = z * (share * max(0, 1 - share) / whole + z * z / (4 * whole * whole)).squareRoot()
    return (share + z * z / (2 * whole) - spread) / (1 + z * z / whole) >= bound
  }
}

/// The groups of all kinds, each kind in a table of its own so that a flood of random senders cannot push out the clients.
struct GroupTable: Sendable {
  private var senders: HeavyHitters<Offender, Group>
  private var users: HeavyHitters<Offender, Group>
  private var clients: HeavyHitters<Offender, Group>
  private var uids: HeavyHitters<Offender, Group>
  private var domains: HeavyHitters<Offender, Group>
  /// Groups of the largest kind.
  private static let most = 4096
  /// The slot at which ``rest(at:)`` goes on.
  private var resting = 0
  private static let atOnce = 16
  /// For groups to come; those held keep the window they began with.
  var settings: DetectorSettings

  init(_ settings: DetectorSettings) {
    self.settings = settings
    let sample = (key: Offender.sender(.null), value: Group(settings))
    senders = HeavyHitters(taking: Self.most, like: sample)
    users = HeavyHitters(taking: 2048, like: sample)
    clients = HeavyHitters(taking: Self.most, like: sample)
    uids = HeavyHitters(taking: 256, like: sample)
    domains = HeavyHitters(taking: 1024, like: sample)
  }

  func group(_ key: Offender) -> Group? {
    func held(_ table: borrowing HeavyHitters<Offender, Group>) -> Group? {
      table.slot(of: key).map { table[$0] }
    }
    return switch key {
    case .sender: held(senders)
    case .user: held(users)
    case .client: held(clients)
    case .uid: held(uids)
    case .senderDomain: held(domains)
    }
  }

  /// Reads a group where it lies, nil for one that is not held: a copy has twenty arrays to be kept.
  func read<R>(_ key: Offender, _ body: (borrowing Group) -> R) -> R? {
    func read(_ table: borrowing HeavyHitters<Offender, Group>) -> R? {
      table.slot(of: key).map { body(table[$0]) }
    }
    return switch key {
    case .sender: read(senders)
    case .user: read(users)
    case .client: read(clients)
    case .uid: read(uids)
    case .senderDomain: read(domains)
    }
  }

  /// Groups held, at most 11,520.
  var count: Int { senders.count + users.count + clients.count + uids.count + domains.count }

  /// Changes a group that is held; nothing happens to one that is not.
  mutating func change(_ key: Offender, _ body: (inout Group) -> Void) {
    func change(_ table: inout HeavyHitters<Offender, Group>) {
      guard let slot = table.slot(of: key) else { return }
      body(&table[slot])
    }
    switch key {
    case .sender: change(&senders)
    case .user: change(&users)
    case .client: change(&clients)
    case .uid: change(&uids)
    case .senderDomain: change(&domains)
    }
  }

  /// A few groups of each kind in turn: those that have fallen silent give memory back.
  mutating func rest(at time: Timestamp) {
    resting = (resting + Self.atOnce) % Self.most
    func rest(_ table: inout HeavyHitters<Offender, Group>) {
      for slot in resting..<max(resting, min(resting + Self.atOnce, table.count)) {
        table[slot].rest(at: time)
      }
    }
    rest(&senders)
    rest(&users)
    rest(&clients)
    rest(&uids)
    rest(&domains)
  }

  mutating func rebuild(
    _ body: (HeavyHitters<Offender, Group>) -> HeavyHitters<Offender, Group>
  ) {
    senders = body(senders)
    users = body(users)
    clients = body(clients)
    uids = body(uids)
    domains = body(domains)
  }

  /// Adds weight to a group, making it if needed, and changes it.
  mutating func add(
    _ key: Offender, weight: Double, at time: Timestamp, _ body: (inout Group) -> Void
  ) {
    let settings = settings
    func add(_ table: inout HeavyHitters<Offender, Group>) {
      let slot = table.add(key, weight: weight, at: time, new: Group(settings))
      body(&table[slot])
    }
    switch key {
    case .sender: add(&senders)
    case .user: add(&users)
    case .client: add(&clients)
    case .uid: add(&uids)
    case .senderDomain: add(&domains)
    }
  }
}
