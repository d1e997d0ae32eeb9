import Mail

/// Who sends most within the detector's window, for a person's eye.
///
/// The detector's groups leave out mail that belongs to a storm and mail that comes in from strangers. Here every message counts.
public struct Ranking: Sendable, Hashable {
  /// One sender or source with its figures.
  public struct Row: Sendable, Hashable {
    public var offender: Offender
    public var messages = 0
    public var recipients = 0
    public var failed = 0
    public var delivered = 0
    public var waiting = 0
    /// The storm that it is an offender of.
    public var incident: Int?
  }

  /// Most messages first. The null sender is one of them.
  public var senders: [Row] = []
  /// Clients, users and uids.
  public var sources: [Row] = []
}

/// Recipients that finished, since the detector began.
public struct OutcomeTotals: Sendable, Hashable {
  public var failed = 0
  public var delivered = 0

  public init() {}
}

/// What a ``Ranking`` is made from, in fixed memory: those who send most are held, and counts are never too high.
struct RankingTable: Sendable {
  private var senders = HeavyHitters<Offender, TallyWindow>(capacity: 512)
  private var sources = HeavyHitters<Offender, TallyWindow>(capacity: 1024)
  private let window: Duration
  private(set) var totals = OutcomeTotals()

  init(_ window: Duration) { self.window = window }

  /// Begins anew, but for the totals.
  mutating func restart() {
    let known = totals
    self = RankingTable(window)
    totals = known
  }

  /// A new message.
  mutating func arrived(_ facts: MailFacts, at birth: Timestamp, now: Timestamp) {
    let tally = Tally(messages: 1, recipients: Int32(clamping: facts.recipients))
    add(tally, to: .sender(facts.sender), at: birth, now)
    for source in Self.sources(facts) { add(tally, to: source, at: birth, now) }
  }

  /// A message that only the log had told of is seen: its sources are known now, and all its recipients.
  mutating func met(_ known: TrackedMessage, _ facts: MailFacts, at birth: Timestamp) {
    let now = birth
    add(
      Tally(recipients: Int32(clamping: max(0, facts.recipients - known.facts.recipients))),
      to: .sender(facts.sender), at: birth, now)
    let tally = Tally(
      messages: 1, recipients: Int32(clamping: facts.recipients),
      failed: Int32(clamping: known.failed), delivered: Int32(clamping: known.delivered),
      lingering: Int32(clamping: known.lingering))
    for source in Self.sources(facts) where !Self.sources(known.facts).contains(source) {
      add(tally, to: source, at: birth, now)
    }
  }

  /// More recipients, or outcomes, of a message that was counted before.
  mutating func add(_ tally: Tally, _ facts: MailFacts, at now: Timestamp) {
    totals.failed += max(0, Int(tally.failed))
    totals.delivered += max(0, Int(tally.delivered))
    senders.change(.sender(facts.sender)) { $0.add(tally, at: now) }
    for source in Self.sources(facts) { sources.change(source) { $0.add(tally, at: now) } }
  }

  func ranking(_ limit: Int, at now: Timestamp, incidents: [Offender: Int]) -> Ranking {
    func rows(_ table: borrowing HeavyHitters<Offender, TallyWindow>) -> [Ranking.Row] {
      // Decayed weights are not the window's counts: of twice as many the right ones are chosen.
      let heavy = table.heaviest(2 * limit + 16, at: now).compactMap { key, _ in
        table.slot(of: key).map { (key, table[$0]) }
      }
      let rows = heavy.map { key, window in
        var window = window
        window.advance(to: now)
        let sum = window.sum
        func count(_ value: Int32) -> Int { Int(max(0, value)) }
        return Ranking.Row(
          offender: key, messages: count(sum.messages), recipients: count(sum.recipients),
          failed: count(sum.failed), delivered: count(sum.delivered),
          waiting: count(sum.lingering), incident: incidents[key])
      }
      .filter { $0.messages > 0 || $0.failed > 0 || $0.waiting > 0 }
      // Ties in one order always, so that a picture of them does not flicker.
      .sorted {
        ($0.messages, $0.recipients, $1.offender.value)
          > ($1.messages, $1.recipients, $0.offender.value)
      }
      return Array(rows.prefix(limit))
    }
    return Ranking(senders: rows(senders), sources: rows(sources))
  }

  private mutating func add(
    _ tally: Tally, to key: Offender, at birth: Timestamp, _ now: Timestamp
  ) {
    func add(_ table: inout HeavyHitters<Offender, TallyWindow>) {
      let slot = table.add(
        key, weight: Double(tally.messages), at: now, new: TallyWindow(window))
      table[slot].add(tally, at: birth)
    }
    if case .sender = key { add(&senders) } else { add(&sources) }
  }

  private static func sources(_ facts: MailFacts) -> [Offender] {
    var sources: [Offender] = []
    if let user = facts.user { sources.append(.user(user)) }
    if let client = facts.client { sources.append(.client(client)) }
    if let uid = facts.uid { sources.append(.uid(uid)) }
    return sources
  }
}

extension HeavyHitters {
  /// Changes the value of a key that is held; nothing happens to one that is not.
  mutating func change(_ key: Key, _ body: (inout Value) -> Void) {
    if let slot = slot(of: key) { body(&self[slot]) }
  }
}

extension StormDetector {
  /// Those who sent most lately, at most `limit` senders and as many sources.
  public func ranking(_ limit: Int, at now: Timestamp) -> Ranking {
    var incidents: [Offender: Int] = [:]
    for episode in episodes.reversed() {
      for offender in episode.storm.offenders { incidents[offender] = episode.storm.incident }
    }
    return ranks.ranking(limit, at: now, incidents: incidents)
  }

  /// Recipients finished since it began, as far as they were seen.
  public var outcomes: OutcomeTotals { ranks.totals }
}
