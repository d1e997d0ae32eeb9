import Mail

// From evidence to storms.
extension StormDetector {
  /// Looks at what the last observation has changed.
  mutating func judge() {
    if !suspects.isEmpty {
      let keys = suspects
      suspects.removeAll(keepingCapacity: true)
      for key in keys { consider(key) }
    }
    if isStrangerSuspect {
      isStrangerSuspect = false
      considerStrangers()
    }
    if !suspectDomains.isEmpty {
      let domains = suspectDomains
      suspectDomains.removeAll(keepingCapacity: true)
      for domain in domains { considerOutage(domain) }
    }
  }

  private mutating func consider(_ key: Offender) {
    let (now, settings) = (now, settings)
    let seen = seenShare(key)
    let isDue = groups.read(key) { now >= $0.nextLook && $0.isBusy(settings, seenShare: seen) }
    guard isDue == true else { return }
    groups.change(key) { group in
      group.window.advance(to: now)
      group.nextLook = now + .milliseconds(50)
      let failed = Int(group.window.sum.failed)
      let delivered = Int(max(0, group.window.sum.delivered))
      if failed >= 8 && failed * 5 >= (failed + delivered) * 2 {
        group.normal.taint()
      }
    }
    lookForOutage()
    guard let verdict = judged(key), let group = groups.group(key) else { return }
    if !open(key, group, verdict) {
      groups.change(key) { $0.nextLook = now + .seconds(verdict == .suspicion ? 3 : 1) }
    }
  }

  private func judged(_ key: Offender) -> Group.Verdict? {
    let (settings, seen, isOutage) = (settings, seenShare(key), now < outageEnds)
    return groups.read(key) {
      $0.verdict(settings, seenShare: seen, isWide: key.isWide, isOutage: isOutage)
    } ?? nil
  }

  /// A poller misses half of what leaves at once; the log has it, but not its client. So of a client's mail there is more than is counted.
  func seenShare(_ key: Offender) -> Double {
    if case .sender = key { return 1 }
    let sum = lately.sum
    return sum.messages <= 0 ? 1 : min(1, max(0.5, Double(sum.seen) / Double(sum.messages)))
  }

  /// Everybody's mail waits, from many places and under many names: that is our line or our DNS, and no group's doing. What waits
  /// from then is tried again for minutes after it is over.
  mutating func lookForOutage() {
    lately.advance(to: now)
    // A flood has one sender, or comes from one place.
    let bad = min(badSources.distinct, badSenders.distinct)
    // A flood that fails for good is tried, and so is whoever waits behind it.
    let (waiting, finished) = (lately.sum.lingering, lately.sum.delivered + lately.sum.failed)
    guard bad >= 4, finished * 2 < waiting else { return }
    let isCrowd =
      bad >= 6 && waiting >= 10 && badSources.topShare <= 0.5
      && badSenders.topShare <= 0.5
    // In quiet hours few write, and one who writes much is most of it.
    let good = min(goodSources.distinct, goodSenders.distinct)
    guard isCrowd || good * 2 <= bad && finished * 10 < waiting else { return }
    outageEnds = now + settings.window + settings.window
  }

  /// Begins a storm about this group, or widens one that goes on. False where the messages do not bear it out.
  private mutating func open(_ key: Offender, _ group: Group, _ verdict: Group.Verdict) -> Bool {
    var matching: [Int] = []
    var guilty: [Int] = []
    for serial in recent {
      guard mail[serial].incident == nil, mail[serial].keys.contains(key) else { continue }
      matching.append(serial)
      if mail[serial].isGuilty { guilty.append(serial) }
    }
    if verdict == .failures, isEverybodyRefused(but: matching) {
      tellOfQueue("Mail of many senders is refused: see whether our address is on a blacklist")
      return false
    }
    // Of the guilty the log may know alone, and not where they come from.
    let isKnown = guilty.count >= 8 && guilty.contains { mail[$0].isSeen }
    var offenders = explain(key, isKnown ? guilty : matching)
    if verdict == .volume {
      // More of a storm that goes on: what waited in todo since before it was seen to begin.
      if let place = episodes.firstIndex(where: { $0.shares(offenders) }) {
        let burst = burst(matching)
        guard !burst.isEmpty else { return false }
        widen(place, offenders, burst)
        return true
      }
      return tellVolume(offenders, matching, group)
    }
    var burst = burst(of: offenders, matching)
    // What the owner of a stolen account sends meanwhile, from where he always does, is not of it. Recipients count: his few letters
    // may be more than the first messages of the thief, to twenty each.
    let strange = burst.filter { mail[$0].facts.isStrange }
    let unseen = burst.filter { !mail[$0].isSeen }
    func reached(_ serials: [Int]) -> Int {
      serials.reduce(0) { $0 + max(1, mail[$1].facts.remoteCount) }
    }
    let sparesUsual = reached(strange) * 2 > reached(burst.filter { mail[$0].isSeen })
    if sparesUsual {
      offenders = explain(key, strange)
      burst = self.burst(of: offenders, (strange + unseen).sorted())
    }
    // What waits is seen sooner than what leaves at once. The log knows all that a sender has sent.
    if verdict == .deferrals, !sparesUsual,
      let sender = offenders.first(where: \.isSender), sender != key, judged(sender) == nil
    {
      return false
    }
    let kind = kind(offenders)
    if verdict == .suspicion, !isSuspicious(burst, offenders, group, isStrange: sparesUsual) {
      return false
    }
    // Whoever explains it must have sent enough alone: a busy office does not make its quiet member guilty.
    let recipients = burst.reduce(0) { $0 + mail[$1].facts.remoteCount }
    let share = seenShare(key)
    let sent = Tally(messages: Int32(burst.count), recipients: Int32(clamping: recipients))
    guard settings.isEnough(sent),
      Double(burst.count) >= share * Double(settings.messages)
        || Double(recipients) >= share * Double(settings.recipients)
    else { return false }
    if let place = episodes.firstIndex(where: { $0.shares(offenders) }) {
      if verdict != .suspicion { episodes[place].storm.isCertain = true }
      widen(place, offenders, burst)
      return true
    }
    var storm = Storm(
      incident: nextIncident, kind: kind, began: mail[burst[0]].identity.birth,
      lastSeen: mail[burst[0]].identity.birth, offenders: offenders)
    storm.evidence.normalPerMinute = perMinute(group.normal.normal)
    storm.isCertain = verdict != .suspicion
    // A flood told of before as a surge is this storm now.
    var isNew = true
    if let surge = episodes.firstIndex(where: {
      $0.storm.kind == .surge && !$0.storm.offenders.isEmpty
        && !Set($0.storm.offenders).isDisjoint(with: offenders)
    }) {
      storm.incident = episodes[surge].storm.incident
      episodes.remove(at: surge)
      isNew = false
    } else {
      nextIncident += 1
    }
    var episode = Episode(storm, settings: settings, lastBusy: now)
    episode.sparesUsual = sparesUsual
    if !sparesUsual { episode.membership.subject = distinctSubject(burst) }
    if let subject = episode.membership.subject {
      burst.removeAll { mail[$0].isSeen && mail[$0].facts.subject != subject }
    }
    if sparesUsual || group.isRotating { episode.suspicion = .looks }
    gather(burst, into: &episode)
    // What bounces told without saying of which message.
    let sum = group.window.sum
    episode.storm.evidence.failed = max(episode.storm.evidence.failed, Int(sum.failed))
    episode.storm.evidence.failuresProven = group.test.isProven && sum.failed >= 8
    episode.takeOver(group.test)
    episode.announced = max(1, episode.storm.evidence.messages)
    episodes.append(episode)
    episodes.sort { $0.storm.incident < $1.storm.incident }
    let told = episode.told(settings)
    outbox.append(isNew ? .began(told) : .changed(told))
    for serial in burst { joinIfReady(serial) }
    // Our bounces of it that are still on their way.
    for serial in mail.serials
    where mail[serial].incident == nil && mail[serial].facts.traffic.isBounce
      && !mail[serial].isGone && home(serial) == storm.incident
    {
      mail[serial].incident = storm.incident
      joinIfReady(serial)
    }
    return true
  }

  /// Whether the mail of people who write little was refused half a minute before this came: receivers think badly of this server then, and no group is to blame.
  /// Floods that come at once from many places are no such people.
  private func isEverybodyRefused(but matching: [Int]) -> Bool {
    let own = Set(matching)
    let isTold = episodes.contains { $0.storm.kind == .surge && $0.storm.isOfQueue }
    let begun = isTold ? now + .seconds(30) : matching.map { mail[$0].identity.birth }.min() ?? now
    var people: [String: (messages: Int, failed: Int, finished: Int)] = [:]
    for serial in recent where !own.contains(serial) {
      let message = mail[serial]
      // What only the log tells of may be of the same flood.
      guard message.isSeen, message.incident == nil, message.facts.traffic == .outbound,
        !message.facts.sender.isBounceSender, begun.seconds(since: message.identity.birth) > 30
      else { continue }
      let place = message.facts.user ?? message.facts.place
      var one = people[place] ?? (0, 0, 0)
      one.messages += 1
      one.failed += message.failed
      one.finished += message.failed + message.delivered
      people[place] = one
    }
    let few = people.values.filter { $0.messages <= 10 && $0.finished > 0 }
    let (failed, finished) = few.reduce((0, 0)) { ($0.0 + $1.failed, $0.1 + $1.finished) }
    return few.count >= 6 && Share(failed, of: finished).isOver(0.25, deviations: 2)
  }

  /// The subject that the storm's mail has and other mail of the same source, lately, has not.
  private func distinctSubject(_ burst: [Int]) -> UInt64? {
    var counts: [UInt64: Int] = [:]
    // Recipients count: few messages may go to thousands.
    for serial in burst where mail[serial].isSeen {
      counts[mail[serial].facts.subject, default: 0] += max(1, mail[serial].facts.remoteCount)
    }
    let seen = counts.values.reduce(0, +)
    guard seen >= 8, let top = counts.max(by: { $0.value < $1.value }), top.key != 0,
      top.value * 10 >= seen * 8
    else { return nil }
    return top.key
  }

  /// The burst of those messages that these offenders explain.
  private func burst(of offenders: [Offender], _ serials: [Int]) -> [Int] {
    let membership = Membership(kind: kind(offenders), offenders: offenders)
    return burst(serials.filter { membership.includes(mail[$0].facts, isUnsolicited: true) })
  }

  /// Whether a flood that hardly fails looks like one all the same: at a machine's pace, and from a client strange to the account, or
  /// with a new foreign sender in nearly each message. What is refused and deferred too often needs no looks.
  private func isSuspicious(
    _ burst: [Int], _ offenders: [Offender], _ group: Group, isStrange: Bool
  ) -> Bool {
    guard let first = burst.first, let last = burst.last else { return false }
    let lasted = mail[last].identity.birth.seconds(since: mail[first].identity.birth)
    let recipients = burst.reduce(0) { $0 + mail[$1].facts.remoteCount }
    if isStrange { return Double(recipients) >= lasted }
    if group.isRotating {
      let senders = Set(burst.map { mail[$0].facts.sender })
      let domains = Set(senders.map(\.domain)).subtracting(localDomains)
      return senders.count * 10 >= burst.count * 7 && domains.count >= 10
        && Double(recipients) >= lasted && burst.count >= 15
    }
    // Enough alone?
    var (failed, waiting, delivered) = (0, 0, 0)
    for serial in burst {
      failed += mail[serial].failed
      waiting += mail[serial].stuck
      delivered += mail[serial].delivered
    }
    let bad = failed + waiting
    return failed >= 8 && waiting >= 8
      && Share(bad, of: bad + delivered).isOver(0.25, deviations: 2)
  }

  mutating func tellChange(_ place: Int) {
    episodes[place].changes += 1
    episodes[place].announced = max(1, episodes[place].storm.evidence.messages)
    outbox.append(.changed(episodes[place].told(settings)))
  }

  /// A storm told of on suspicion has failed enough: from now on it is acted on.
  mutating func makeCertain(_ place: Int) {
    let incident = episodes[place].storm.incident
    episodes[place].storm.isCertain = true
    tellChange(place)
    for serial in mail.serials where mail[serial].incident == incident { joinIfReady(serial) }
  }

  /// The messages born within the window, oldest first. Those that came later were born later, but for a few.
  var recent: [Int] {
    var found: [Int] = []
    var older = 0
    let window = settings.window.inSeconds
    for serial in mail.serials.reversed() {
      if now.seconds(since: mail[serial].identity.birth) < window {
        found.append(serial)
        older = 0
      } else {
        older += 1
        if older > 256 { break }
      }
    }
    return found.reversed()
  }

  /// Takes messages out of the groups and into a storm.
  private mutating func gather(_ serials: [Int], into episode: inout Episode) {
    var touched: Set<Offender> = []
    for serial in serials {
      let message = mail[serial]
      mail[serial].incident = episode.storm.incident
      episode.add(message, now: now)
      let tally = Tally(
        failed: Int32(clamping: message.failed), delivered: Int32(clamping: message.delivered),
        lingering: Int32(clamping: message.lingering))
      episode.add(tally)
      touched.formUnion(message.keys)
      // Recipients that wait are counted as they stand; everybody else's share of them must not stay.
      lately.add(
        Tally(delivered: -tally.delivered, lingering: -tally.lingering), at: now)
      if tally.lingering > 0 {
        for domain in message.facts.domains.named {
          if let slot = deferrals.slot(of: domain) {
            deferrals[slot].window.add(Tally(lingering: -tally.lingering), at: now)
          }
        }
      }
    }
    let settings = settings
    for key in touched { groups.change(key) { $0.restart(settings) } }
  }

  /// More offenders turn up for a storm that goes on: what they have in common explains it.
  private mutating func widen(_ place: Int, _ offenders: [Offender], _ burst: [Int]) {
    let common = episodes[place].storm.offenders.filter { offenders.contains($0) }
    episodes[place].storm.offenders = common
    let before = episodes[place].storm.kind
    episodes[place].storm.kind = kind(common)
    // Under other subjects too, then.
    episodes[place].membership = Membership(kind: episodes[place].storm.kind, offenders: common)
    var episode = episodes[place]
    episode.storm.began = burst.reduce(episode.storm.began) {
      min($0, mail[$1].identity.birth)
    }
    gather(burst, into: &episode)
    episodes[place] = episode
    if before != episode.storm.kind || !announceGrowth(place) { tellChange(place) }
    for serial in burst { joinIfReady(serial) }
  }

  /// The attributes that nearly all of these messages share, narrowest first.
  private func explain(_ key: Offender, _ serials: [Int]) -> [Offender] {
    // Of a message that only the log told of, client and user are not known.
    let seen = serials.filter { mail[$0].isSeen }
    func steady<T: Hashable>(_ value: (MailFacts) -> T?, isLogged: Bool = false) -> T? {
      var counts: [T: Int] = [:]
      let serials = isLogged || seen.isEmpty ? serials : seen
      let needed = (serials.count * 4 + 4) / 5
      for serial in serials {
        if let value = value(mail[serial].facts) { counts[value, default: 0] += 1 }
      }
      return counts.max { $0.value < $1.value }.flatMap {
        $0.value >= max(1, needed) ? $0.key : nil
      }
    }
    let sender = steady(
      { facts in
        facts.sender.isBounceSender || facts.sender.verpStem != nil ? nil : facts.sender
      }, isLogged: true)
    var found: [Offender] = []
    if let uid = steady({ $0.uid }) { found.append(.uid(uid)) }
    if let sender { found.append(.sender(sender)) }
    if let user = steady({ $0.user }) { found.append(.user(user)) }
    if let client = steady({ $0.client }) { found.append(.client(client)) }
    if sender == nil,
      let domain = steady({ $0.client == nil || $0.user != nil ? nil : $0.sender.domain }),
      !domain.isEmpty, !localDomains.contains(domain)
    {
      found.append(.senderDomain(domain))
    }
    if found.isEmpty { found.append(key) }
    return found
  }

  func kind(_ offenders: [Offender]) -> StormKind {
    var kind = StormKind.relaySource
    for offender in offenders {
      if case .uid = offender { return .localScript }
      if case .sender = offender { kind = .relaySender }
    }
    return kind
  }

  /// The burst these messages end in, oldest first: back to a gap far longer than those within it. What somebody sent in the
  /// ordinary way before belongs to nobody's storm.
  private func burst(_ serials: [Int]) -> [Int] {
    let sorted = serials.sorted { mail[$0].identity < mail[$1].identity }
    guard let newest = sorted.last.map({ mail[$0].identity.birth }) else { return [] }
    var first = sorted.count - 1
    while first > 0 {
      let birth = mail[sorted[first]].identity.birth
      let gap = birth.seconds(since: mail[sorted[first - 1]].identity.birth)
      let inside = sorted.count - 1 - first
      if inside >= 4, gap > max(3, 12 * newest.seconds(since: birth) / Double(inside)) { break }
      first -= 1
    }
    return Array(sorted[first...])
  }

  private func perMinute(_ window: Double?) -> Double? {
    window.map { $0 * 60 / max(1, settings.window.inSeconds) }
  }

  /// Says so when a storm has grown by an order of magnitude since it was last told of.
  @discardableResult
  mutating func announceGrowth(_ place: Int) -> Bool {
    guard episodes[place].storm.evidence.messages >= 10 * episodes[place].announced,
      episodes[place].changes < 2
    else { return false }
    tellChange(place)
    return true
  }

  func isActive(_ kind: StormKind) -> Bool { episodes.contains { $0.storm.kind == kind } }
}

// Storms that strangers make.
extension StormDetector {
  private mutating func considerStrangers() {
    notices.advance(to: now)
    bouncesOut.advance(to: now)
    if notices.isStorm(settings, seesAll: seesAll), !isActive(.backscatterIn) {
      let sender = notices.steadySender(at: now)
      let normal = notices.normal.normal
      let count = Int(notices.count)
      let failed = Int(max(notices.window.sum.failed, notices.doubles.sum.messages))
      beginStrangers(
        .backscatterIn, sender.map { [.sender($0)] } ?? [], notices.victims(at: now), normal, count,
        failed, notices.test)
      notices.restart(settings)
    }
    if bouncesOut.isStorm(settings), !isActive(.bounceOut) {
      let offenders = bouncesOut.offenders(at: now)
      var sender: Address?
      for case .sender(let address) in offenders { sender = address }
      beginStrangers(
        .bounceOut, offenders, bouncesOut.victims(at: now, but: sender), bouncesOut.normal.normal,
        Int(bouncesOut.window.sum.messages), Int(bouncesOut.window.sum.messages), bouncesOut.test)
      bouncesOut.restart(settings)
    }
  }

  private mutating func beginStrangers(
    _ kind: StormKind, _ offenders: [Offender], _ victims: [String], _ normal: Double?,
    _ count: Int, _ failed: Int, _ test: SequentialTest
  ) {
    var membership = Membership(kind: kind, offenders: offenders)
    // The heaviest hosts of a crowd are named, and are not all of it.
    if kind == .bounceOut, !bouncesOut.areMost(membership.clients, at: now) {
      membership.clients = []
    }
    let members = burst(
      recent.filter { serial in
        mail[serial].incident == nil
          && membership.includes(
            mail[serial].facts, isUnsolicited: mail[serial].isUnsolicited)
      })
    guard let first = members.first else { return }
    var storm = Storm(
      incident: nextIncident, kind: kind, began: mail[first].identity.birth,
      lastSeen: mail[first].identity.birth, offenders: offenders, victims: victims)
    nextIncident += 1
    storm.evidence.normalPerMinute = perMinute(normal)
    var episode = Episode(storm, settings: settings, lastBusy: now)
    episode.membership = membership
    for serial in members {
      mail[serial].incident = storm.incident
      episode.add(mail[serial], now: now)
      episode.add(
        Tally(
          failed: Int32(clamping: mail[serial].failed),
          delivered: Int32(clamping: mail[serial].delivered),
          lingering: Int32(clamping: mail[serial].lingering)))
    }
    episode.storm.evidence.failed = max(episode.storm.evidence.failed, failed)
    episode.storm.evidence.failuresProven = test.isProven
    episode.takeOver(test)
    episode.announced = max(1, episode.storm.evidence.messages)
    episodes.append(episode)
    outbox.append(.began(episode.told(settings)))
    for serial in members { joinIfReady(serial) }
  }

  /// Whom notices go to. Counted also while their storm goes on, so that later victims are named.
  mutating func noteVictims(_ addresses: [Address], isUnsolicited: Bool) {
    guard isUnsolicited else { return }
    for address in addresses {
      _ = notices.domains.add(address.domain, at: now, new: 0)
      _ = notices.addresses.add(address.lowercased, at: now, new: 0)
    }
  }
}

// Storms without an offender.
extension StormDetector {
  /// An accepted flood far above normal is told of, and no more: nothing proves that anybody minds it.
  private mutating func tellVolume(_ offenders: [Offender], _ serials: [Int], _ group: Group)
    -> Bool
  {
    if let place = episodes.firstIndex(where: {
      $0.storm.kind == .surge && !Set($0.storm.offenders).isDisjoint(with: offenders)
    }) {
      measure(&episodes[place].storm.evidence, group)
      episodes[place].storm.lastSeen = now
      episodes[place].lastBusy = now
      announceGrowth(place)
      return false
    }
    let burst = burst(serials)
    guard let first = burst.first else { return false }
    var storm = Storm(
      incident: nextIncident, kind: .surge, began: mail[first].identity.birth,
      lastSeen: mail[first].identity.birth, offenders: offenders)
    nextIncident += 1
    measure(&storm.evidence, group)
    for serial in burst { storm.addSample(mail[serial].identity.id) }
    let episode = Episode(storm, settings: settings, lastBusy: now)
    episodes.append(episode)
    outbox.append(.began(episode.told(settings)))
    return true
  }

  /// The figures of a surge are those of its group's window.
  private func measure(_ evidence: inout Evidence, _ group: Group) {
    group.count(in: &evidence)
    evidence.normalPerMinute = perMinute(group.normal.normal)
  }

  private mutating func considerOutage(_ domain: Domain) {
    guard let slot = deferrals.slot(of: domain) else { return }
    deferrals[slot].window.advance(to: now)
    guard deferrals[slot].isOutage(settings) else { return }
    let state = deferrals[slot]
    if let others = domainsWaiting(beside: state) {
      return tellOfQueue(
        "Mail of many senders waits, to \(others) domains and more: see to our own line and name server"
      )
    }
    if let place = episodes.firstIndex(where: {
      $0.storm.kind == .surge && $0.storm.victims.contains(domain.text)
    }) {
      episodes[place].lastBusy = now
      episodes[place].storm.lastSeen = now
      let before = episodes[place].storm.evidence.lingering
      episodes[place].storm.evidence.lingering = max(before, Int(state.window.sum.lingering))
      return
    }
    var storm = Storm(
      incident: nextIncident, kind: .surge, began: now, lastSeen: now, offenders: [],
      victims: [domain.text])
    nextIncident += 1
    var messages = 0
    for serial in mail.serials where mail[serial].lingering > 0 {
      let message = mail[serial]
      guard message.incident == nil, message.facts.domains.contains(domain) else { continue }
      messages += 1
      storm.began = min(storm.began, message.identity.birth)
      storm.addSample(message.identity.id)
    }
    storm.evidence.messages = messages
    storm.evidence.recipients = Int(state.window.sum.lingering)
    storm.evidence.lingering = Int(state.window.sum.lingering)
    storm.evidence.delivered = Int(max(0, state.window.sum.delivered))
    storm.evidence.failed = Int(max(0, state.window.sum.failed))
    storm.evidence.recipientDomains = 1
    storm.evidence.senders = state.senders.distinct
    let episode = Episode(storm, settings: settings, lastBusy: now)
    episodes.append(episode)
    outbox.append(.began(episode.told(settings)))
  }

  /// How many domains defer our mail, where the one that was looked at has less than half of all that waits and little gets through
  /// anywhere: no provider is down then.
  private mutating func domainsWaiting(beside state: DomainDeferrals) -> Int? {
    var (domains, all) = (0, Tally())
    for slot in 0..<deferrals.count {
      deferrals[slot].window.advance(to: now)
      let sum = deferrals[slot].window.sum
      all += sum
      if sum.lingering > 0, sum.delivered * 2 < sum.lingering { domains += 1 }
    }
    let isWide =
      domains >= settings.deferredDomains && state.window.sum.lingering * 2 < all.lingering
    return isWide && all.delivered * 2 < all.lingering ? domains : nil
  }

  private mutating func tellOfQueue(_ what: String) {
    if let place = episodes.firstIndex(where: { $0.storm.kind == .surge && $0.storm.isOfQueue }) {
      episodes[place].lastBusy = now
      episodes[place].storm.lastSeen = now
      return
    }
    let storm = Storm(
      incident: nextIncident, kind: .surge, began: now, lastSeen: now, offenders: [])
    nextIncident += 1
    var episode = Episode(storm, settings: settings, lastBusy: now)
    episode.what = what
    episodes.append(episode)
    outbox.append(.began(episode.told(settings)))
  }

  /// What time alone brings about: stalls, growth that nobody explains, ends.
  mutating func tick() {
    groups.rest(at: now)
    lookForOutage()
    lookForStall()
    lookForGrowth()
    var ended: [Int] = []
    for place in episodes.indices {
      let kind = episodes[place].storm.kind
      let patience = kind == .stall ? 60 : settings.pause.inSeconds
      guard let busy = episodes[place].lastBusy, now.seconds(since: busy) >= patience else {
        continue
      }
      episodes[place].storm.ended = now
      outbox.append(.ended(episodes[place].told(settings)))
      ended.append(place)
    }
    guard !ended.isEmpty else { return }
    let gone = Set(ended.map { episodes[$0].storm.incident })
    episodes.removeAll { gone.contains($0.storm.incident) }
    for serial in mail.serials {
      if let incident = mail[serial].incident, gone.contains(incident) {
        mail[serial].incident = nil
        mail[serial].keys = []
        mail[serial].isDisregarded = true
      }
    }
  }

  private mutating func lookForStall() {
    guard let trouble = stall.trouble(at: now) else { return }
    if let place = episodes.firstIndex(where: { $0.storm.kind == .stall }) {
      episodes[place].lastBusy = now
      episodes[place].storm.lastSeen = now
      episodes[place].what = trouble.what
      let waiting = max(trouble.waiting, episodes[place].storm.evidence.messages)
      episodes[place].storm.evidence.messages = waiting
      if waiting >= 10 { announceGrowth(place) }
      return
    }
    var storm = Storm(
      incident: nextIncident, kind: .stall, began: trouble.since, lastSeen: now, offenders: [])
    nextIncident += 1
    storm.evidence.messages = trouble.waiting
    var episode = Episode(storm, settings: settings, lastBusy: now)
    episode.what = trouble.what
    episode.announced = max(10, trouble.waiting)
    episodes.append(episode)
    outbox.append(.began(episode.told(settings)))
  }

  /// Growth of the queue that no storm explains.
  private mutating func lookForGrowth() {
    guard let growth = backlog.growth else { return }
    if let place = episodes.firstIndex(where: { $0.storm.kind != .stall }) {
      if episodes[place].storm.kind == .surge { episodes[place].lastBusy = now }
      return
    }
    var storm = Storm(
      incident: nextIncident, kind: .surge, began: now - .seconds(60 * growth.minutes),
      lastSeen: now, offenders: [])
    nextIncident += 1
    storm.evidence.messages = growth.to
    var episode = Episode(storm, settings: settings, lastBusy: now)
    episode.what = "The queue grew from \(growth.from) to \(growth.to) messages"
    episodes.append(episode)
    outbox.append(.began(episode.told(settings)))
  }
}

extension Offender {
  var isSender: Bool { if case .sender = self { true } else { false } }

  /// Many innocent senders may stand behind it.
  var isWide: Bool {
    switch self {
    case .sender, .user: false
    case .client, .uid, .senderDomain: true
    }
  }
}

extension Episode {
  /// Whether these are the offenders of this storm in another guise: the same account, script or sender, or the same client where
  /// no account is known.
  func shares(_ offenders: [Offender]) -> Bool {
    guard [.relaySender, .relaySource, .localScript].contains(storm.kind) else { return false }
    let hasUser = offenders.contains { if case .user = $0 { true } else { false } }
    return storm.offenders.contains { own in
      guard offenders.contains(own) else { return false }
      switch own {
      case .sender, .user, .uid: return true
      case .client: return !hasUser || membership.user == nil
      case .senderDomain: return true
      }
    }
  }

  /// Goes on with the test where the group's stood.
  mutating func takeOver(_ other: SequentialTest) { test = other }
}
