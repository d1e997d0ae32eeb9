import Mail

/// Tells storms from busy days. A pure value: what it knows came in through ``observe(_:)``, time included.
///
/// The same observations come from a live queue, a recorded trace or the simulator, and give the same events. Volume goes by the
/// birth of messages, so that a queue full of old mail seen at the start is no burst; outcomes go by the time they are seen.
///
/// Outcomes are inferred from the queue where no log tells them: a finished recipient of an entry that bounces has failed; our own
/// bounce tells of the failures of its original; what leaves without a word was delivered; a recipient that still waits although
/// a later message of its channel has finished (qmail-send starts first attempts in the order of birth, `pqchan` in qmail-send.c)
/// was deferred.
///
/// Memory is bounded whatever arrives: 16,384 messages, 11,520 groups, and fixed tables.
public struct StormDetector: Sendable {
  /// May be replaced while it runs; groups that are held keep the window they began with.
  public var settings: DetectorSettings {
    didSet {
      groups.settings = settings
      stall.settings = settings
    }
  }
  /// me, locals, rcpthosts and virtualdomains: who is "ours". May be replaced when the control files change.
  public var localDomains: Set<Domain>

  var nextIncident: Int
  var now = Timestamp(nanoseconds: .min)
  var episodes: [Episode] = []
  var mail = MailTable(capacity: 16_384)
  var groups: GroupTable
  var book = FailureBook()
  var correspondence = Correspondence()
  var acquaintances = Acquaintances()
  var habits = Habits()
  var forwarding = Forwarding()
  var notices: NoticeWatch
  var bouncesOut: BounceOutWatch
  var stall: StallWatch
  var backlog = BacklogWatch()
  var deferrals = HeavyHitters<Domain, DomainDeferrals>(capacity: 512)
  var lingering = LingerQueue()
  var log = LogJoin()
  /// There is a log, or a watcher that meets messages in todo: what lives for milliseconds is seen too.
  var seesAll = false
  /// All outbound mail of the last minute that is in no storm, and the clients and uids whose recipients fail or wait.
  var lately = TallyWindow(.seconds(60))
  var badSources = Spread(window: .seconds(120))
  var badSenders = Spread(window: .seconds(120))
  /// And those whose mail got through.
  var goodSources = Spread(window: .seconds(120))
  var goodSenders = Spread(window: .seconds(120))
  /// Until then deferrals say nothing, since everybody's mail waited.
  var outageEnds = Timestamp(nanoseconds: .min)
  /// Who sends most: told, never judged by.
  var ranks: RankingTable
  /// The newest birth of a message that has finished on each channel, and when anything finished there.
  var finished: [Channel: (birth: Timestamp, seen: Timestamp)] = [:]
  var suspects: [Offender] = []
  var isStrangerSuspect = false
  var suspectDomains: [Domain] = []
  var outbox: [StormEvent] = []
  private var lastTick = Timestamp(nanoseconds: .min)

  /// - Parameters:
  ///   - resuming: storms that were open when qwarden stopped; messages go on joining them.
  ///   - nextIncident: number of the next new storm.
  public init(
    settings: DetectorSettings, localDomains: Set<Domain>, resuming: [Storm] = [],
    nextIncident: Int = 1
  ) {
    self.settings = settings
    self.localDomains = localDomains
    self.nextIncident = max(nextIncident, (resuming.map(\.incident).max() ?? 0) + 1)
    groups = GroupTable(settings)
    notices = NoticeWatch(settings)
    bouncesOut = BounceOutWatch(settings)
    stall = StallWatch(settings)

    episodes = resuming.map { storm in
      var storm = storm
      storm.isCertain = storm.evidence.isEnough(for: storm.kind)
      return Episode(storm, settings: settings, lastBusy: nil)
    }
    ranks = RankingTable(settings.window)
  }

  /// The storms that go on now, oldest first, with their figures as they stand.
  public var storms: [Storm] { episodes.map { $0.told(settings) } }

  /// Of open storms, by incident: how many messages like their own were found waiting that are of before they began. They join none.
  public var older: [Int: Int] {
    Dictionary(uniqueKeysWithValues: episodes.map { ($0.storm.incident, $0.older) })
      .filter { $0.value > 0 }
  }

  /// Takes in one observation and says what follows from it: first what began, changed or ended, then who joined.
  public mutating func observe(_ observation: Observation) -> [StormEvent] {
    now = max(now, observation.time)
    for place in episodes.indices where episodes[place].lastBusy == nil {
      episodes[place].lastBusy = now
    }
    switch observation.event {
    case .arrival(let entry): arrive(entry)
    case .processed(let identity): process(identity)
    case .progress(let progress): advance(progress)
    case .departure(let id): depart(id)
    case .counts(let counts):
      stall.take(counts, at: now)
      backlog.take(counts, at: now)
    case .health(let health): stall.take(health, at: now)
    case .log(let line): read(line)
    case .takenOut(let identity): disregard(identity)
    }
    findLingering()
    judge()
    if now.seconds(since: lastTick) >= 0.5 || lastTick.nanoseconds == .min {
      lastTick = now
      tick()
    }
    defer { outbox.removeAll(keepingCapacity: true) }
    return outbox
  }

  /// Own action: this entry is being retired, so that its leaving the queue is no evidence of success.
  /// - Returns: whether it is news.
  @discardableResult
  public mutating func disregard(_ identity: EntryIdentity) -> Bool {
    guard let serial = mail.current(identity.id), mail[serial].identity == identity,
      !mail[serial].isDisregarded
    else { return false }
    mail[serial].isDisregarded = true
    release(serial, leaving: 0)
    return true
  }

  /// Whether what becomes of the message that has this number now is evidence.
  public func regards(_ id: UInt64) -> Bool {
    mail.current(id).map { !mail[$0].isDisregarded } ?? false
  }
}

// What the queue shows.
extension StormDetector {
  private mutating func arrive(_ entry: Entry) {
    let id = entry.identity.id
    if entry.isUnprocessed { seesAll = true }
    if let earlier = mail.current(id), !mail[earlier].isGone {
      if isSame(mail[earlier], entry) {
        if mail[earlier].processed == nil, !entry.isUnprocessed { process(entry.identity) }
        return
      }
      depart(id)
    }
    var facts = MailFacts(entry, localDomains: localDomains)
    facts.isStrange = habits.note(facts, birth: entry.identity.birth)
    let logged = mail.logged(id).flatMap { serial in
      let known = mail[serial]
      return !known.isSeen && known.facts.sender == facts.sender
        && abs(known.identity.birth.seconds(since: entry.identity.birth)) <= 5 ? serial : nil
    }
    if logged.map({ mail[$0].facts.isSentOn }) ?? isSentOn(facts) { facts.sendOn() }
    if let logged {
      meet(logged, entry, facts)
      return
    }
    let isUnsolicited = isUnsolicited(entry, facts)
    // Old news: of no burst, and what becomes of it says nothing of today. A large queue costs no memory here.
    if isOldNews(entry.identity.birth),
      home(of: facts, birth: entry.identity.birth, isUnsolicited: isUnsolicited) == nil
    {
      noteOlder(entry, facts, isUnsolicited: isUnsolicited)
      return
    }
    var message = TrackedMessage(identity: entry.identity, facts: facts)
    message.isSeen = true
    message.queuedBy = entry.queuedBy
    message.isUnsolicited = isUnsolicited
    message.processed = entry.isUnprocessed ? nil : now
    message.done = entry.recipients.count - entry.pendingCount
    // Done before anybody looked: old news.
    message.deliveredByQueue = message.done
    let serial = mail.insert(message)
    mail.setCurrent(id, serial)
    ranks.arrived(facts, at: entry.identity.birth, now: now)
    welcome(serial, entry)
    if entry.isBouncing { fail(serial, atLeast: 1) }
  }

  /// Nothing recent speaks against it, so it is nobody's; but an administrator who looks at the storm wants to know of it.
  private mutating func noteOlder(_ entry: Entry, _ facts: MailFacts, isUnsolicited: Bool) {
    guard entry.pendingCount > 0 else { return }
    for place in episodes.indices
    where entry.identity.birth < episodes[place].storm.began
      && episodes[place].membership.includes(facts, isUnsolicited: isUnsolicited)
    {
      episodes[place].older += 1
    }
  }

  /// The same entry seen again: with its birth, or whole now where it was in todo.
  private func isSame(_ known: TrackedMessage, _ entry: Entry) -> Bool {
    if known.identity == entry.identity { return true }
    return known.processed == nil && !entry.isUnprocessed
      && known.facts.sender == entry.sender.lowercased
      && abs(known.identity.birth.seconds(since: entry.identity.birth)) <= 60
  }

  /// An entry the log had told of before it was seen: now its source and all its recipients are known.
  private mutating func meet(_ serial: Int, _ entry: Entry, _ facts: MailFacts) {
    let known = mail[serial]
    if let uid = known.loggedUID { log.learn(facts, logged: uid) }
    ranks.met(known, facts, at: now)
    mail[serial].identity = entry.identity
    mail[serial].facts = facts
    mail[serial].isSeen = true
    mail[serial].isUnsolicited = isUnsolicited(entry, facts)
    mail[serial].processed = entry.isUnprocessed ? nil : now
    mail[serial].done = entry.recipients.count - entry.pendingCount
    mail.setCurrent(entry.identity.id, serial)
    if known.isGone { mail[serial].isGone = false }
    if let incident = known.incident {
      if home(serial) == incident {
        joinIfReady(serial)
        watch(serial)
        return
      }
      mail[serial].incident = nil
      mail[serial].isCounted = false
    }
    guard known.isCounted, mail[serial].incident == nil else {
      welcome(serial, entry)
      return
    }
    // Counted so far for its sender only: the other groups catch up, and the sender's gets the rest of the recipients.
    remember(serial, entry)
    if let incident = home(serial) {
      join(serial, incident)
      return
    }
    let keys = facts.traffic == .outbound ? facts.offenders(localDomains) : []
    mail[serial].keys = keys
    let missing = max(0, facts.remoteCount - known.facts.remoteCount)
    for key in keys {
      let isNew = !known.keys.contains(key)
      let tally = Tally(
        messages: isNew ? 1 : 0, recipients: Int32(clamping: isNew ? facts.remoteCount : missing),
        failed: isNew ? Int32(clamping: known.failed) : 0,
        delivered: isNew ? Int32(clamping: known.delivered) : 0,
        lingering: isNew ? Int32(clamping: known.lingering) : 0,
        listMarked: facts.isListMarked && (isNew || !known.facts.isListMarked) ? 1 : 0, seen: 1,
        strange: facts.isStrange ? 1 : 0)
      count(key, tally, facts, at: entry.identity.birth)
      if isNew {
        groups.change(key) { $0.test.add(failed: known.failed, delivered: known.delivered) }
      }
    }
    watch(serial)
  }

  /// Counts a new message where it belongs: in its storm, or in its groups.
  private mutating func welcome(_ serial: Int, _ entry: Entry) {
    remember(serial, entry)
    watch(serial)
    if let incident = home(serial) {
      join(serial, incident)
    } else {
      enroll(serial)
    }
    bounced(serial)
  }

  /// What later messages are judged by: who writes to whom, and which way a sender's mail goes.
  private mutating func remember(_ serial: Int, _ entry: Entry) {
    let facts = mail[serial].facts
    switch facts.traffic {
    case .outbound:
      correspondence.sent(by: facts.sender, recipients: facts.remoteCount, at: now)
    case .notice where mail[serial].isUnsolicited:
      noteVictims(entry.recipients, isUnsolicited: true)
    case .notice:
      for address in entry.recipients { correspondence.noticed(to: address, at: now) }
    case .inbound where facts.client != nil: forwarding.cameIn(facts.sender)
    case .noticeBounced:
      // The notice itself may have come and gone unseen; the double bounce goes to doublebounceto, mostly at the same host.
      for address in entry.recipients { _ = notices.domains.add(address.domain, at: now, new: 0) }
    default: break
    }
    guard !facts.traffic.isBounce else { return }
    let recipient =
      entry.local.first?.address ?? entry.unrouted.first ?? entry.remote.first?.address
    let comesIn = facts.localCount > 0 || facts.traffic == .inbound
    book.update(FailureBook.Key(facts)) {
      $0.traffic = facts.traffic
      $0.localDomain = comesIn ? recipient?.domain : $0.localDomain
    }
  }

  /// Whether none of those it goes to has mail out that it could answer.
  /// Of our bounces: whether their original came from nobody whose mail has ever been wanted.
  func isUnsolicited(_ entry: Entry, _ facts: MailFacts) -> Bool {
    switch facts.traffic {
    case .notice: !entry.recipients.contains { correspondence.isAwaiting($0, at: now) }
    case .bounceOut: !(facts.origin.map { acquaintances.include($0) || isRelayed($0) } ?? false)
    default: false
    }
  }

  /// Mail of a client that we relay for, to other hosts: its bounces are no stranger's.
  private func isRelayed(_ origin: Source.Origin) -> Bool {
    guard case .network(let client, _, _) = origin.source else { return false }
    if hasRelayed(client) { return true }
    let key = FailureBook.Key(MailFacts(origin: origin, traffic: .unclear))
    return book.balance(key)?.traffic == .outbound
  }

  private func hasRelayed(_ client: String) -> Bool {
    groups.read(.client(client)) { $0.window.sum.messages > 0 } ?? false
  }

  private mutating func process(_ identity: EntryIdentity) {
    stall.moved()
    guard let serial = mail.current(identity.id), !mail[serial].isGone else { return }
    mail[serial].identity = identity
    mail[serial].processed = now
    watch(serial)
    // It may have waited in todo since before the storm began, and is of it all the same: its lasting birth is now.
    if mail[serial].incident == nil, let incident = home(serial) {
      join(serial, incident)
    } else {
      joinIfReady(serial)
    }
  }

  private mutating func advance(_ progress: Observation.Progress) {
    guard let serial = mail.current(progress.id), !mail[serial].isGone else { return }
    let message = mail[serial]
    let done = min(progress.doneLocal + progress.doneRemote, message.facts.recipients)
    mail[serial].done = max(done, message.done)
    guard !message.isDisregarded else { return }
    if done > message.done {
      if progress.doneLocal > 0 { noteFinished(.local, message) }
      if progress.doneRemote > 0 { noteFinished(.remote, message) }
    }
    settleLingering(serial)
    guard !message.hasLog else { return }
    if let failed = progress.failed {
      // At once: a test that takes one after another must not see all failures first.
      let delivered = unknown(serial, delivered: done - failed)
      fail(serial, atLeast: failed, delivered: delivered)
    } else if progress.isBouncing {
      fail(serial, atLeast: 1)
      // Which of the others failed too cannot be told. Up to three for each known failure say nothing; a message with many
      // more finished recipients was delivered to most.
      succeed(serial, atLeast: done - 4 * mail[serial].failedByQueue)
    } else {
      succeed(serial, atLeast: done)
    }
  }

  mutating func depart(_ id: UInt64) {
    guard let serial = mail.current(id) else { return }
    mail.setCurrent(id, nil)
    guard !mail[serial].isGone else { return }
    mail[serial].isGone = true
    let message = mail[serial]
    guard !message.isDisregarded else { return }
    if message.facts.localCount > 0 { noteFinished(.local, message) }
    if message.facts.remoteCount > 0 { noteFinished(.remote, message) }
    settleLingering(serial)
    guard !message.hasLog else { return }
    let total = message.facts.recipients
    if message.failedByQueue > 0 {
      succeed(serial, atLeast: total - 4 * message.failedByQueue)
      return
    }
    let rest = max(0, total - message.deliveredByQueue)
    let key = FailureBook.Key(message.facts)
    let announced = book.update(key) { balance in
      let told = min(rest, balance.announced)
      balance.announced -= told
      balance.presumed += rest - told
      if rest > told { balance.departed = serial }
      return told
    }
    if announced > 0 {
      // Already counted when the bounce came; now it is known which message it was.
      mail[serial].failed += announced
      mail[serial].failedByQueue += announced
      noteBad(serial, announced)
    }
    succeed(serial, atLeast: message.deliveredByQueue + rest - announced)
  }

  private mutating func noteFinished(_ channel: Channel, _ message: TrackedMessage) {
    let birth = message.identity.birth
    let before = finished[channel]?.birth ?? birth
    finished[channel] = (max(before, birth), now)
  }

  /// Lets the outcome of a message be at least so many failures.
  private mutating func fail(_ serial: Int, atLeast failed: Int, delivered: Int = 0) {
    let new = min(failed, mail[serial].facts.recipients) - mail[serial].failedByQueue
    guard new > 0 else {
      if delivered > 0 { credit(serial, Tally(delivered: Int32(clamping: delivered))) }
      return
    }
    mail[serial].failedByQueue += new
    fail(serial, new, delivered: delivered)
  }

  private mutating func succeed(_ serial: Int, atLeast delivered: Int) {
    let new = unknown(serial, delivered: delivered)
    if new > 0 { credit(serial, Tally(delivered: Int32(clamping: new))) }
  }

  /// How many of these deliveries the queue had not shown before; from now on it has.
  private mutating func unknown(_ serial: Int, delivered: Int) -> Int {
    let new = max(0, delivered - mail[serial].deliveredByQueue)
    mail[serial].deliveredByQueue += new
    return new
  }

  /// Counts new failures of a message, except those its bounce has told of already, and new deliveries with them.
  mutating func fail(_ serial: Int, _ count: Int, delivered: Int = 0) {
    let told = book.update(FailureBook.Key(mail[serial].facts)) { balance in
      let told = min(count, balance.announced)
      balance.announced -= told
      balance.unreported += count - told
      return told
    }
    noteBad(serial, count)
    if told > 0 { mail[serial].failed += told }
    if count > told || delivered > 0 {
      credit(
        serial,
        Tally(failed: Int32(clamping: count - told), delivered: Int32(clamping: delivered)))
    }
  }

  /// Our own bounce came: failures of its original, unless they were counted already.
  private mutating func bounced(_ serial: Int) {
    guard let origin = mail[serial].facts.origin else { return }
    // A double bounce tells that our bounce failed; of the message itself that bounce has told.
    if mail[serial].facts.sender.isDoubleBounce, !origin.sender.isBounceSender { return }
    let count = min(max(1, origin.failedRecipients), 100_000)
    let traffic = mail[serial].facts.traffic
    var facts = MailFacts(origin: origin, traffic: .unclear)
    if hasBouncedSentOn(facts) { facts.sendOn() }
    let key = FailureBook.Key(facts)
    let (new, converted, before) = book.update(key) { balance in
      let known = min(count, balance.unreported)
      balance.unreported -= known
      let new = count - known
      let converted = min(new, balance.presumed)
      balance.presumed -= converted
      balance.announced += new - converted
      return (new, converted, balance)
    }
    if traffic == .bounceOut, let target = before.localDomain {
      _ = bouncesOut.targets.add(target, at: now, new: 0)
    }
    guard new > 0 else { return }
    facts.traffic = outcomeTraffic(of: facts, traffic, before)
    if converted > 0, let departed = before.departed, mail.holds(departed),
      mail[departed].facts.sender == facts.sender
    {
      mail[departed].failed += converted
      noteBad(departed, converted)
    }
    let keys = facts.traffic == .outbound ? facts.offenders(localDomains) : []
    let incident =
      facts.traffic == .outbound || facts.traffic == .notice
      ? home(of: facts, birth: now, isUnsolicited: true) : nil
    credit(
      facts, keys: keys, incident: incident,
      Tally(failed: Int32(clamping: new), delivered: -Int32(clamping: converted)))
  }

  /// Which way the original of a bounce went: what was seen of it, else what its source says.
  private func outcomeTraffic(
    of facts: MailFacts, _ bounce: MailFacts.Traffic, _ balance: FailureBook.Balance
  ) -> MailFacts.Traffic {
    if bounce == .noticeBounced { return .notice }
    if balance.traffic == .outbound || balance.traffic == .inbound { return balance.traffic }
    if facts.user != nil || facts.uid != nil { return .outbound }
    return facts.client.map { hasRelayed($0) } ?? false ? .outbound : .inbound
  }
}

extension MailFacts.Traffic {
  var isBounce: Bool { self == .bounceOut || self == .bounceHome || self == .noticeBounced }
}

// Counting.
extension StormDetector {
  /// The active storm these facts belong to.
  func home(of facts: MailFacts, birth: Timestamp, isUnsolicited: Bool) -> Int? {
    for episode in episodes where birth >= episode.storm.began {
      if episode.membership.includes(facts, isUnsolicited: isUnsolicited),
        !(episode.sparesUsual && isUsual(facts, before: episode.storm.began))
      {
        return episode.storm.incident
      }
    }
    return nil
  }

  /// Mail of an account from where it was used before, or a bounce of such.
  private func isUsual(_ facts: MailFacts, before time: Timestamp) -> Bool {
    let origin = facts.origin.map { MailFacts(origin: $0, traffic: .outbound) }
    return habits.isUsual(origin ?? facts, before: time)
  }

  func home(_ serial: Int) -> Int? {
    let message = mail[serial]
    // The log's birth is a few milliseconds off.
    let birth = message.isSeen ? message.identity.birth : now
    return home(of: message.facts, birth: birth, isUnsolicited: message.isUnsolicited)
  }

  mutating func join(_ serial: Int, _ incident: Int) {
    guard let place = episodes.firstIndex(where: { $0.storm.incident == incident }) else { return }
    mail[serial].incident = incident
    mail[serial].isCounted = true
    episodes[place].add(mail[serial], now: now)
    if mail[serial].facts.traffic == .bounceOut, let origin = mail[serial].facts.origin {
      bouncesOut.note(origin, at: now)
    }
    announceGrowth(place)
    joinIfReady(serial)
  }

  /// Says that a message has joined, once: when it has its lasting identity and somebody still waits for it.
  mutating func joinIfReady(_ serial: Int) {
    let message = mail[serial]
    guard let incident = message.incident, !message.isJoined, message.isSeen,
      message.processed != nil, message.isWaiting,
      let episode = episodes.first(where: { $0.storm.incident == incident }),
      episode.storm.isCertain,
      // Where only the subject tells the storm from honest mail, its bounces cannot be told.
      episode.membership.subject == nil || !message.facts.traffic.isBounce
    else { return }
    // Of many hosts that each send us something to bounce, one that did so once may be an honest one with a wrong address.
    if message.facts.traffic == .bounceOut, let origin = message.facts.origin,
      !bouncesOut.isRepeated(origin, at: now)
    {
      return
    }
    mail[serial].isJoined = true
    outbox.append(.joined(incident: incident, message.identity))
  }

  /// Counts a message in the groups of its kind.
  mutating func enroll(_ serial: Int) {
    let message = mail[serial]
    let facts = message.facts
    let birth = message.identity.birth
    guard !isOldNews(birth) else { return }
    mail[serial].isCounted = true
    let tally = Tally(
      messages: 1, recipients: Int32(clamping: facts.remoteCount),
      listMarked: facts.isListMarked ? 1 : 0, seen: message.isSeen ? 1 : 0,
      strange: facts.isStrange ? 1 : 0)
    switch facts.traffic {
    case .outbound, .unclear:
      let keys = facts.offenders(localDomains)
      mail[serial].keys = keys
      for key in keys { count(key, tally, facts, at: birth) }
      lately.add(tally, at: birth)
    case .notice where message.isUnsolicited:
      notices.window.add(Tally(messages: 1), at: birth)
      if let client = facts.client { notices.clients.add(StableHash.of(client.utf8), at: now) }
      _ = notices.senders.add(facts.sender, at: now, new: 0)
      isStrangerSuspect = true
    case .noticeBounced:
      notices.doubles.add(Tally(messages: 1), at: birth)
      isStrangerSuspect = true
    case .bounceOut where message.isUnsolicited:
      bouncesOut.window.add(tally, at: birth)
      bouncesOut.lately.add(tally, at: birth)
      if let origin = facts.origin {
        _ = bouncesOut.senders.add(origin.sender.lowercased, at: now, new: 0)
        _ = bouncesOut.victims.add(origin.sender.domain, at: now, new: 0)
        bouncesOut.note(origin, at: now)
      }
      isStrangerSuspect = true
    case .notice, .inbound, .bounceHome, .bounceOut: break
    }
  }

  mutating func count(_ key: Offender, _ tally: Tally, _ facts: MailFacts, at birth: Timestamp) {
    let now = now
    let sender = StableHash.of(facts.sender.bytes)
    groups.add(key, weight: Double(tally.messages), at: now) { group in
      var tally = tally
      if tally.seen > 0, group.circles.isKnown(facts.circle) { tally.repeated = 1 }
      group.window.add(tally, at: birth)
      group.domains.add(facts.domains.hashes, at: now)
      group.senders.add(sender, at: now)
      group.window.advance(to: now)
      group.normal.note(group.window.sum.messages, at: now)
    }
    suspects.append(key)
  }

  /// Counts outcomes of one message.
  mutating func credit(_ serial: Int, _ tally: Tally) {
    mail[serial].failed = max(0, mail[serial].failed + Int(tally.failed))
    mail[serial].delivered = max(0, mail[serial].delivered + Int(tally.delivered))
    mail[serial].lingering = max(0, mail[serial].lingering + Int(tally.lingering))
    mail[serial].stuck = max(0, mail[serial].stuck + Int(tally.stuck))
    let message = mail[serial]
    credit(message.facts, keys: message.keys, incident: message.incident, tally)
  }

  private mutating func credit(
    _ facts: MailFacts, keys: [Offender], incident: Int?, _ tally: Tally
  ) {
    ranks.add(tally, facts, at: now)
    if let incident {
      guard let place = episodes.firstIndex(where: { $0.storm.incident == incident }) else {
        return
      }
      let wasProven = episodes[place].storm.evidence.failuresProven
      episodes[place].add(tally)
      if !episodes[place].storm.isCertain {
        if episodes[place].isEnough(settings) { makeCertain(place) }
      } else if !wasProven && episodes[place].storm.evidence.failuresProven,
        episodes[place].changes == 0
      {
        tellChange(place)
      }
      return
    }
    switch facts.traffic {
    case .outbound, .unclear:
      for key in keys {
        groups.change(key) { group in
          group.window.add(tally, at: now)
          group.test.add(failed: Int(tally.failed), delivered: Int(tally.delivered))
        }
        suspects.append(key)
      }
      lately.add(tally, at: now)
      if tally.delivered > 0 {
        goodSources.add(StableHash.of(facts.place.utf8), at: now)
        goodSenders.add(StableHash.of(facts.sender.bytes), at: now)
      }
      noteDomains(facts, tally)
    case .notice:
      notices.window.add(tally, at: now)
      notices.test.add(failed: Int(tally.failed), delivered: Int(tally.delivered))
      isStrangerSuspect = true
    case .inbound where facts.user == nil && facts.uid == nil:
      noteDomains(facts, tally)
      // Who is known speaks for himself only, and not for strangers.
      let isKnown = acquaintances.include(facts)
      // During a bounce-out even the spam that does arrive would make its senders look wanted.
      if tally.delivered > 0, !isActive(.bounceOut) { acquaintances.delivered(facts) }
      if isKnown, tally.delivered > 0 { return }
      guard tally.delivered != 0 || facts.client != nil else { return }
      bouncesOut.window.add(Tally(delivered: tally.delivered), at: now)
      bouncesOut.lately.add(Tally(delivered: tally.delivered), at: now)
      bouncesOut.test.add(failed: Int(tally.failed), delivered: Int(tally.delivered))
      isStrangerSuspect = true
    default: break
    }
  }

  /// How the domains that mail goes to take it, ours on other hosts among them.
  private mutating func noteDomains(_ facts: MailFacts, _ tally: Tally) {
    for domain in facts.domains.named {
      let slot = deferrals.add(
        domain, weight: max(0, Double(tally.lingering + tally.delivered)), at: now,
        new: DomainDeferrals(settings))
      deferrals[slot].window.add(tally, at: now)
      if tally.lingering > 0 {
        deferrals[slot].senders.add(StableHash.of(facts.sender.bytes), at: now)
        suspectDomains.append(domain)
      }
    }
  }

  /// Which domains and sources have recipients that fail or wait.
  mutating func noteBad(_ serial: Int, _ count: Int, domain: Domain? = nil) {
    let message = mail[serial]
    guard message.incident == nil, message.facts.traffic == .outbound else { return }
    let domains =
      domain.map { [RecipientDomains.hash($0)] }
      ?? Array(message.facts.domains.hashes.prefix(max(1, count)))
    for key in message.keys { groups.change(key) { $0.badDomains.add(domains, at: now) } }
    badSources.add(StableHash.of(message.facts.place.utf8), at: now)
    badSenders.add(StableHash.of(message.facts.sender.bytes), at: now)
  }
}

// Waiting recipients.
extension StormDetector {
  /// Looks again at a message in a while, unless it is old news.
  mutating func watch(_ serial: Int) {
    let message = mail[serial]
    guard message.isSeen, message.processed != nil, message.isWaiting,
      now.seconds(since: message.identity.birth) < 120
    else { return }
    lingering.add(serial, due: now + settings.lingerAfter)
  }

  private mutating func findLingering() {
    while let (serial, round) = lingering.next(at: now) {
      guard mail.holds(serial), mail[serial].isWaiting else { continue }
      let message = mail[serial]
      let waiting = message.facts.recipients - message.done
      let channel: Channel = message.facts.remoteCount > 0 ? .remote : .local
      guard wasTried(message, channel) else {
        lingering.again(serial, round, at: now)
        continue
      }
      let new = max(0, waiting - message.lingering)
      if new > 0 { noteBad(serial, new) }
      let age = now.seconds(since: message.processed ?? message.identity.birth)
      let isStuck = age >= patience
      let stuck = isStuck ? max(0, waiting - message.stuck) : 0
      if new > 0 || stuck > 0 {
        credit(serial, Tally(lingering: Int32(clamping: new), stuck: Int32(clamping: stuck)))
      }
      if !isStuck { lingering.again(serial, round, at: now) }
    }
  }

  /// A delivery attempt to a host that answers at all is over by then.
  private var patience: Double { 4 * settings.lingerAfter.inSeconds }

  /// Whether its first attempt must be over. The queue does not say: a recipient waits for a free slot or for its next try alike.
  /// qmail-send takes new messages in the order of birth, to the second; so if a later one has finished, this one has had its turn.
  /// And where nothing has finished for long, nothing gets through.
  private func wasTried(_ message: TrackedMessage, _ channel: Channel) -> Bool {
    let processed = message.processed ?? message.identity.birth
    guard let last = finished[channel] else { return now.seconds(since: processed) >= patience }
    if last.birth.seconds(since: message.identity.birth) >= 1 { return true }
    return now.seconds(since: max(last.seen, processed)) >= patience
  }

  /// Takes back what is counted as waiting beyond this many.
  mutating func release(_ serial: Int, leaving waiting: Int) {
    let lingering = max(0, mail[serial].lingering - waiting)
    let stuck = max(0, mail[serial].stuck - waiting)
    guard lingering > 0 || stuck > 0 else { return }
    credit(serial, Tally(lingering: -Int32(clamping: lingering), stuck: -Int32(clamping: stuck)))
  }

  /// Those who have finished wait no more.
  private mutating func settleLingering(_ serial: Int) {
    let message = mail[serial]
    let waiting = message.isGone ? 0 : max(0, message.facts.recipients - message.done)
    release(serial, leaving: waiting)
  }
}
