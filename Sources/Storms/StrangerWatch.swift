import Mail

/// Failure notices from outside to users who have not asked for them.
struct NoticeWatch: Sendable {
  /// Notices seen as they came in; their failures and deliveries.
  var window: TallyWindow
  /// Our double bounces about such notices: they last longer than the notices themselves.
  var doubles: TallyWindow
  var test: SequentialTest
  var clients: Spread
  var domains = HeavyHitters<Domain, Int>(capacity: 64)
  var addresses = HeavyHitters<Address, Int>(capacity: 256)
  var senders = HeavyHitters<Address, Int>(capacity: 64)
  var normal = Baseline()

  init(_ settings: DetectorSettings) {
    window = TallyWindow(settings.window)
    doubles = TallyWindow(settings.window)
    test = SequentialTest(settings)
    clients = Spread(window: settings.window)
  }

  mutating func restart(_ settings: DetectorSettings) {
    let learned = normal
    self = NoticeWatch(settings)
    normal = learned
    normal.taint()
  }

  mutating func advance(to time: Timestamp) {
    window.advance(to: time)
    doubles.advance(to: time)
    normal.note(count, at: time)
  }

  /// One notice shows as itself, as our double bounce, or both: the greater number is the count.
  var count: Int32 { max(window.sum.messages, doubles.sum.messages) }

  /// Most notices fail because nobody is there; without that it takes twice as many to be sure.
  ///
  /// - Parameter seesAll: a poller alone sees one in ten of what lives for milliseconds; three times as many is a safe guess.
  func isStorm(_ settings: DetectorSettings, seesAll: Bool) -> Bool {
    let count = Int(count) * (seesAll ? 1 : 3)
    guard count >= settings.messages else { return false }
    if let usual = normal.normal, let limit = normal.limit,
      Double(count) < settings.timesNormal * usual || Double(count) < limit
    {
      return false
    }
    let failed = window.sum.failed
    let delivered = max(0, window.sum.delivered)
    if test.isProven && failed >= 8 && failed * 20 >= (failed + delivered) * 7 { return true }
    return count >= 2 * settings.messages
  }

  /// Flooded domains, and addresses that take a tenth of it all.
  func victims(at time: Timestamp) -> [String] {
    let total = domains.heaviest(64, at: time).reduce(0) { $0 + $1.weight }
    guard total > 0 else { return [] }
    let named = domains.heaviest(5, at: time).filter { $0.weight * 20 >= total }
    let single = addresses.heaviest(5, at: time).filter {
      $0.weight * 10 >= total && $0.weight >= 5
    }
    return named.map(\.key.text) + single.map { Text.decode($0.key.bytes) }
  }

  /// A daemon with a name that sent most of it.
  func steadySender(at time: Timestamp) -> Address? {
    let top = senders.heaviest(64, at: time)
    let total = top.reduce(0) { $0 + $1.weight }
    guard let first = top.first, first.weight * 10 >= total * 6, !first.key.isBounceSender else {
      return nil
    }
    return first.key
  }
}

/// Our bounces to strangers, about mail that we took and could not deliver.
struct BounceOutWatch: Sendable {
  /// Messages: bounces. Delivered: strangers' mail that reached our users, of those not known before.
  var window: TallyWindow
  /// The same within the last minute, so that a quiet while before does not hide it.
  var lately = TallyWindow(.seconds(60))
  var test: SequentialTest
  var victims = HeavyHitters<Domain, Int>(capacity: 512)
  var clients = HeavyHitters<String, Int>(capacity: 512, halfLife: .seconds(120))
  var senders = HeavyHitters<Address, Int>(capacity: 256, halfLife: .seconds(120))
  var targets = HeavyHitters<Domain, Int>(capacity: 32)
  var domains: Spread
  /// How many came lately of mail from where the last one did.
  private var ofLast = 0.0
  var normal = Baseline()

  init(_ settings: DetectorSettings) {
    window = TallyWindow(settings.window)
    test = SequentialTest(settings)
    domains = Spread(window: settings.window)
  }

  /// Counts one more bounce of mail from there.
  mutating func note(_ origin: Source.Origin, at time: Timestamp) {
    guard case .network(let client, _, _) = origin.source else { return }
    _ = clients.add(client, at: time, new: 0)
    // From one host, or under one name.
    ofLast = max(
      clients.weight(of: client, at: time),
      senders.weight(of: origin.sender.lowercased, at: time))
  }

  /// Whether more than one has come from there.
  func isRepeated(_ origin: Source.Origin, at time: Timestamp) -> Bool {
    guard case .network(let client, _, _) = origin.source else { return true }
    return clients.weight(of: client, at: time) >= 1.2
  }

  mutating func restart(_ settings: DetectorSettings) {
    let learned = normal
    let places = clients
    self = BounceOutWatch(settings)
    clients = places
    normal = learned
    normal.taint()
  }

  mutating func advance(to time: Timestamp) {
    window.advance(to: time)
    lately.advance(to: time)
    normal.note(window.sum.messages, at: time)
  }

  func isStorm(_ settings: DetectorSettings) -> Bool {
    let count = Int(window.sum.messages)
    guard count >= settings.messages else { return false }
    // One host or name whose mail has reached nobody: however much other mail comes in, that is not usual.
    if ofLast >= Double(settings.messages) { return true }
    guard test.isProven else { return false }
    // All of these have failed, which speaks for itself sooner.
    if let usual = normal.normal, let limit = normal.limit,
      Double(count) < min(2, settings.timesNormal) * usual || Double(count) < limit
    {
      return false
    }
    let bounced = Int(lately.sum.messages)
    return bounced * 20 >= (bounced + Int(max(0, lately.sum.delivered))) * 7
  }

  /// One steady original sender, or up to sixteen clients that sent most.
  func offenders(at time: Timestamp) -> [Offender] {
    var found: [Offender] = []
    if let sender = Self.steady(senders, share: 0.8, limit: 1, at: time).first {
      found.append(.sender(sender))
    }
    let heaviest = clients.heaviest(16, at: time)
    let steady = heaviest.filter { $0.weight >= max(1.5, heaviest[0].weight / 4) }.map(\.key)
    if found.isEmpty || steady.count <= 3 && areMost(Set(steady), at: time) {
      found += steady.map { .client($0) }
    }
    return found
  }

  /// Whether these clients sent nearly all of it.
  func areMost(_ named: Set<String>, at time: Timestamp) -> Bool {
    let all = clients.heaviest(512, at: time)
    let total = all.reduce(0) { $0 + $1.weight }
    return all.reduce(0) { named.contains($1.key) ? $0 + $1.weight : $0 } * 10 >= total * 7
  }

  func victims(at time: Timestamp, but offender: Address?) -> [String] {
    let forged = victims.heaviest(100, at: time).map(\.key).filter { $0 != offender?.domain }
    return targets.heaviest(3, at: time).map(\.key.text) + forged.map(\.text)
  }

  private static func steady<Key>(
    _ table: HeavyHitters<Key, Int>, share: Double, limit: Int, at time: Timestamp
  ) -> [Key] {
    let all = table.heaviest(512, at: time)
    let total = all.reduce(0) { $0 + $1.weight }
    return all.prefix(limit).filter { $0.weight >= share * total }.map(\.key)
  }
}
