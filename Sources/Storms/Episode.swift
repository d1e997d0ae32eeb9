import Mail

/// An active storm with what is needed to go on counting it.
struct Episode: Sendable {
  var storm: Storm
  var membership: Membership
  var window: TallyWindow
  var test: SequentialTest
  var domains = Spread()
  var senders = Spread()
  var clients = Spread()
  /// Messages at the last announcement, for growth by an order of magnitude.
  var announced: Int
  /// When it last was more than a trickle; nil for a resumed storm until the first observation.
  var lastBusy: Timestamp?
  /// Where the accounts of the storm were used before it began is not of it: its owner goes on writing there.
  var sparesUsual = false
  /// What a storm that is not certain yet was told of for.
  enum Suspicion: Sendable {
    /// Where it comes from and under which names.
    case looks
    /// What becomes of it.
    case outcomes
  }
  var suspicion = Suspicion.outcomes
  /// Messages like its own that were found waiting and are of before it began.
  var older = 0
  /// How often it was told of between begin and end.
  var changes = 0
  /// The first words of its sentence, where the kind has none of its own.
  var what = ""
  /// Figures before a restart: the spreads begin anew then.
  private let earlier: Evidence
  private let countedUntil: Timestamp

  init(_ storm: Storm, settings: DetectorSettings, lastBusy: Timestamp?) {
    self.storm = storm
    self.lastBusy = lastBusy
    membership = Membership(kind: storm.kind, offenders: storm.offenders)
    window = TallyWindow(settings.window)
    test = SequentialTest(settings)
    announced = max(1, storm.evidence.messages)
    earlier = storm.evidence
    countedUntil = storm.evidence.messages > 0 ? storm.lastSeen : Timestamp(nanoseconds: .min)
  }

  /// Under this many messages a window it is a trickle, and not the storm going on.
  static let trickle: Int32 = 5

  mutating func add(_ message: TrackedMessage, now: Timestamp) {
    let facts = message.facts
    // Our bounces of a flood go with it, but are no messages of the offender's.
    if facts.traffic.isBounce, storm.kind != .bounceOut, storm.kind != .backscatterIn { return }
    // What was born before a restart was counted before it.
    if message.identity.birth > countedUntil {
      storm.evidence.messages += 1
      storm.evidence.recipients += facts.recipients
      if facts.isListMarked { storm.evidence.listMarked += 1 }
    }
    storm.lastSeen = max(storm.lastSeen, message.identity.birth)
    storm.addSample(message.identity.id)
    domains.add(facts.domains.hashes, at: now)
    let origin = facts.origin.map { MailFacts(origin: $0, traffic: .unclear) }
    senders.add(StableHash.of((origin ?? facts).sender.bytes), at: now)
    if storm.kind == .bounceOut, let victim = origin?.sender.domain, storm.victims.count < 100,
      origin?.sender != membership.sender, !storm.victims.contains(victim.text)
    {
      storm.victims.append(victim.text)
    }
    if let client = (origin ?? facts).client {
      clients.add(StableHash.of(client.utf8), at: now)
    }
    window.add(Tally(messages: 1), at: max(message.identity.birth, storm.began))
    window.advance(to: now)
    if window.sum.messages >= Self.trickle { lastBusy = now }
    refresh()
  }

  mutating func add(_ tally: Tally) {
    storm.evidence.failed = max(0, storm.evidence.failed + Int(tally.failed))
    storm.evidence.delivered = max(0, storm.evidence.delivered + Int(tally.delivered))
    storm.evidence.lingering = max(0, storm.evidence.lingering + Int(tally.lingering))
    test.add(failed: Int(tally.failed), delivered: Int(tally.delivered))
    if test.isProven && storm.evidence.failed >= 8 { storm.evidence.failuresProven = true }
  }

  /// Whether a storm told of on suspicion has failed enough to be acted on.
  func isEnough(_ settings: DetectorSettings) -> Bool {
    let evidence = storm.evidence
    let finished = evidence.failed + evidence.delivered
    guard evidence.failed >= 8, listIsDenied else { return false }
    if Share(evidence.failed, of: finished).isOver(0.35, deviations: 3) { return true }
    let bad = evidence.failed + evidence.lingering
    if Share(bad, of: bad + evidence.delivered).isOver(0.5, deviations: 3) { return true }
    // What looks like a flood already needs little more than ordinary mail.
    return suspicion == .looks
      && Share(evidence.failed, of: finished)
        .isOver(settings.ordinaryFailureShare, deviations: 2)
  }

  /// Whether it bears no list's marks, or fails too often for a list.
  private var listIsDenied: Bool {
    let evidence = storm.evidence
    return evidence.listMarked * 2 < evidence.messages
      || evidence.failed >= 30 && evidence.failed * 2 >= evidence.failed + evidence.delivered
  }

  private mutating func refresh() {
    storm.evidence.recipientDomains = max(earlier.recipientDomains, domains.distinct)
    storm.evidence.senders = max(earlier.senders, senders.distinct)
    storm.evidence.clients = max(earlier.clients, clients.distinct)
  }

  /// The storm with its sentence as of now.
  func told(_ settings: DetectorSettings) -> Storm {
    var copy = storm
    copy.reason = Reason.sentence(
      storm, what: what, isFromElsewhere: sparesUsual, settings)
    return copy
  }
}
