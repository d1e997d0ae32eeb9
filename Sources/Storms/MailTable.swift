import Mail

/// One message the detector keeps in mind, with what has been counted for it.
struct TrackedMessage: Sendable {
  var identity: EntryIdentity
  var facts: MailFacts
  /// Groups it counts in, narrowest first; empty until counted.
  var keys: [Offender] = []
  /// When qmail-send had taken it in, as far as was seen.
  var processed: Timestamp?
  /// The process that queued it, as the queue shows it; the log calls it `qp`.
  var queuedBy: Int?
  /// Seen in the queue itself, not only in the log.
  var isSeen = false
  var isGone = false
  var isCounted = false
  var isUnsolicited = false
  /// Own action: what happens to it says nothing.
  var isDisregarded = false
  var isJoined = false
  var hasLog = false
  /// The active storm it belongs to.
  var incident: Int?
  /// Recipients finished, as the queue last showed.
  var done = 0
  /// Outcomes inferred from the queue and already counted.
  var failedByQueue = 0
  var deliveredByQueue = 0
  /// All that is counted for it, by queue and log together.
  var failed = 0
  var delivered = 0
  var lingering = 0
  var stuck = 0
  /// What the log told.
  var loggedUID: UInt32?
  var loggedDeferrals = 0
  var loggedFailures = 0
  var loggedSuccesses = 0

  var isGuilty: Bool { failed > 0 || lingering > 0 }
  var isWaiting: Bool { !isGone && !isDisregarded && done < facts.recipients }
}

/// The messages of the last while, at most `capacity`; the oldest makes room.
struct MailTable: Sendable {
  private var ring: [TrackedMessage]
  /// Serial number of the next message; a serial number stays valid until its place is taken again.
  private(set) var next = 0
  private var byID: [UInt64: Int] = [:]
  private var byLog: [UInt64: Int] = [:]
  /// IDs are used again within milliseconds, but not by the same process.
  private struct Queued: Hashable {
    var id: UInt64
    var pid: Int
  }
  private var byProcess: [Queued: Int] = [:]
  let capacity: Int

  /// Takes its memory at once: a storm shall not make the program larger, nor find that there is none left.
  init(capacity: Int) {
    self.capacity = capacity
    // With what a usual message holds elsewhere: a sender, two domains, three groups.
    ring = (0..<capacity).map { _ in
      let sender = Address(Array(repeating: 0, count: 32))
      var message = TrackedMessage(
        identity: EntryIdentity(id: 0, birth: Timestamp(nanoseconds: .min)),
        facts: MailFacts(logged: sender, uid: nil))
      for domain in ["a", "b"] { message.facts.domains.note(Domain(domain)) }
      message.keys = Array(repeating: .sender(sender), count: 3)
      return message
    }
    byID.reserveCapacity(capacity)
    byLog.reserveCapacity(capacity)
    byProcess.reserveCapacity(capacity)
  }

  /// Serial numbers that still hold a message, oldest first.
  var serials: Range<Int> { max(0, next - capacity)..<next }

  func holds(_ serial: Int) -> Bool { serials.contains(serial) }

  /// The message with this serial number, which must be held.
  subscript(serial: Int) -> TrackedMessage {
    _read { yield ring[serial % capacity] }
    _modify { yield &ring[serial % capacity] }
  }

  mutating func insert(_ message: TrackedMessage) -> Int {
    let serial = next
    next += 1
    if serial >= capacity {
      let id = ring[serial % capacity].identity.id
      if let old = byID[id], old <= serial - capacity { byID[id] = nil }
      if let old = byLog[id], old <= serial - capacity { byLog[id] = nil }
      if let pid = ring[serial % capacity].queuedBy {
        let key = Queued(id: id, pid: pid)
        if let old = byProcess[key], old <= serial - capacity { byProcess[key] = nil }
      }
    }
    ring[serial % capacity] = message
    if let pid = message.queuedBy {
      byProcess[Queued(id: message.identity.id, pid: pid)] = serial
    }
    return serial
  }

  /// The message that this process queued under this number; it may be gone.
  func queued(_ id: UInt64, by pid: Int) -> Int? {
    byProcess[Queued(id: id, pid: pid)].flatMap { holds($0) ? $0 : nil }
  }
  /// The message that has this number in the queue now.
  func current(_ id: UInt64) -> Int? { byID[id].flatMap { holds($0) ? $0 : nil } }
  /// The message that the log means by this number now.
  func logged(_ id: UInt64) -> Int? { byLog[id].flatMap { holds($0) ? $0 : nil } }

  mutating func setCurrent(_ id: UInt64, _ serial: Int?) { byID[id] = serial }
  mutating func setLogged(_ id: UInt64, _ serial: Int?) { byLog[id] = serial }
}

/// Keeps the three ways in which one failure shows from being counted thrice: the entry's own progress, our bounce about it, and
/// its leaving without a word.
///
/// Bounded (``Generations``).
struct FailureBook: Sendable {
  /// A sender from one source. Nobody can choose two with the same hash: it is another in each run.
  struct Key: Sendable {
    fileprivate let hash: UInt64

    init(_ facts: MailFacts) {
      var hasher = Hasher()
      hasher.combine(facts.sender)
      hasher.combine(facts.client)
      hasher.combine(facts.user)
      hasher.combine(facts.uid)
      hash = UInt64(bitPattern: Int64(hasher.finalize()))
    }
  }

  struct Balance: Sendable {
    /// Failures counted of which the bounce is still to come.
    var unreported = 0
    /// Recipients taken for delivered because their message left without a word.
    var presumed = 0
    /// Failures a bounce has told of, whose message has not yet shown them.
    var announced = 0
    /// Which way the last message of this sender went.
    var traffic = MailFacts.Traffic.unclear
    /// Domain of a local recipient of that message, if any.
    var localDomain: Domain?
    /// Serial number of the last message that left without a word.
    var departed: Int?
  }

  private var balances = Generations(like: Balance())

  func balance(_ key: Key) -> Balance? { balances[key.hash] }

  mutating func update<R>(_ key: Key, _ change: (inout Balance) -> R) -> R {
    balances.update(key.hash, default: Balance(), change)
  }
}

/// How much our users have written lately, to know an answer from backscatter: a notice is solicited while no more came back than an
/// honest sender must expect, three and an eighth of the recipients. Both halve every two hours. Bounded
/// (``Generations``).
struct Correspondence: Sendable {
  private struct Account {
    var sent = 0.0
    var noticed = 0.0
    var time: Timestamp

    mutating func fade(to now: Timestamp) {
      let kept = exp2Approximation(-max(0, now.seconds(since: time)) / 7200)
      (sent, noticed, time) = (sent * kept, noticed * kept, max(time, now))
    }
  }
  private var accounts = Generations(like: Account(time: Timestamp(nanoseconds: 0)))

  /// Bounces to a VERP sender belong to its list.
  private static func key(_ address: Address) -> UInt64 {
    StableHash.of((address.verpStem ?? address).lowercased.bytes)
  }

  func isAwaiting(_ address: Address, at now: Timestamp) -> Bool {
    // Who wrote to it answers a list of ours, were it yesterday's.
    if address.verpStem != nil { return true }
    let key = Self.key(address)
    guard var account = accounts[key] else { return false }
    account.fade(to: now)
    return account.noticed < min(account.sent, 3 + account.sent / 8)
  }

  mutating func sent(by address: Address, recipients: Int, at now: Timestamp) {
    change(Self.key(address), at: now) { $0.sent += Double(max(0, recipients)) }
  }

  mutating func noticed(to address: Address, at now: Timestamp) {
    let key = Self.key(address)
    guard accounts[key] != nil else { return }
    change(key, at: now) { $0.noticed += 1 }
  }

  mutating func clockWasSet(by shift: Duration) {
    accounts.change { $0.time = $0.time + shift }
  }

  private mutating func change(
    _ key: UInt64, at now: Timestamp, _ body: (inout Account) -> Void
  ) {
    accounts.update(key, default: Account(time: now)) { account in
      account.fade(to: now)
      body(&account)
    }
  }
}
