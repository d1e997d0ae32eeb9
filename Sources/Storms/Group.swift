import Mail

/// What is known of one possible offender: its volume, its outcomes, its normal.
struct Group: Sendable {
  var window: TallyWindow
  var test: SequentialTest
  /// Recipient domains of its messages, and of those recipients that fail or wait.
  var domains: Spread
  var badDomains: Spread
  var senders: Spread
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
    /// Accepted everywhere, but far more than usual: only told of, since an honest invoice run looks the same.
    case volume
  }

  /// Volume over the floor and over the learned normal.
  func isBusy(_ settings: DetectorSettings) -> Bool {
    let count = Int(window.sum.messages)
    guard count >= settings.messages || Int(window.sum.recipients) >= settings.recipients,
      count >= min(8, settings.messages)
    else { return false }
    guard let usual = normal.normal, let limit = normal.limit else { return true }
    // Failures that are proven speak for themselves sooner.
    let times = test.isProven ? min(1.5, settings.timesNormal) : settings.timesNormal
    return Double(count) >= times * usual && (test.isProven || Double(count) >= limit)
  }

  /// - Parameter isWide: the group may hold many innocent senders (a client, a uid, a domain).
  func verdict(_ settings: DetectorSettings, isWide: Bool, isOutage: Bool) -> Verdict? {
    guard isBusy(settings) else { return nil }
    let sum = window.sum
    let failed = Int(max(0, sum.failed))
    let delivered = Int(max(0, sum.delivered))
    let lingering = Int(max(0, sum.lingering))
    let isList = sum.listMarked * 2 >= sum.messages
    let finished = failed + delivered
    // Many senders who all fail at one domain: that domain refuses us, and nobody here is to blame.
    let isRefusal = isWide && badDomains.topShare > 0.6 && senders.distinct > 4
    // Failures may be seen sooner than deliveries: a tenth of all recipients must have failed, whatever is known of the rest.
    if test.isProven && !isRefusal && failed * 10 >= Int(sum.recipients) {
      if isList {
        if failed >= 30 && failed * 2 >= finished { return .failures }
      } else if failed >= 8 && failed * 20 >= finished * 7 {
        return .failures
      }
    }
    let bad = lingering + failed
    let all = bad + delivered
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
    if !isList, sum.messages >= Int32(clamping: settings.acceptedMessages), domains.distinct >= 100
    {
      return .volume
    }
    return nil
  }
}

/// The groups of all kinds, each kind in a table of its own so that a flood of random senders cannot push out the clients.
struct GroupTable: Sendable {
  private var senders: HeavyHitters<Offender, Group>
  private var users: HeavyHitters<Offender, Group>
  private var clients: HeavyHitters<Offender, Group>
  private var uids: HeavyHitters<Offender, Group>
  private var domains: HeavyHitters<Offender, Group>
  /// For groups to come; those held keep the window they began with.
  var settings: DetectorSettings

  init(_ settings: DetectorSettings) {
    self.settings = settings
    senders = HeavyHitters(capacity: 4096)
    users = HeavyHitters(capacity: 2048)
    clients = HeavyHitters(capacity: 4096)
    uids = HeavyHitters(capacity: 256)
    domains = HeavyHitters(capacity: 1024)
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

  /// Messages of a group within its window as last counted; 0 for one that is not held.
  func messages(_ key: Offender) -> Int32 {
    func held(_ table: borrowing HeavyHitters<Offender, Group>) -> Int32 {
      table.slot(of: key).map { table[$0].window.sum.messages } ?? 0
    }
    return switch key {
    case .sender: held(senders)
    case .user: held(users)
    case .client: held(clients)
    case .uid: held(uids)
    case .senderDomain: held(domains)
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
