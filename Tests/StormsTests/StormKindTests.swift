import Mail
import Storms
import Testing

private let alice = Source.network(client: "127.66.6.6", helo: "x", user: "alice")
private let bob = Source.network(client: "127.77.7.7", helo: "x", user: "bob")

/// 300 messages, 40 a second, to as many domains; 60 % deferred, 20 % rejected, 20 % accepted.
extension Scenario {
  mutating func flood(
    at begin: Double, count: Int = 300, rate: Double = 40, deferred: Int = 60, rejected: Int = 20,
    name: String = "flood", domains: Int = 180, isList: Bool = false,
    from sender: (Int) -> (String, Source)
  ) {
    for number in 0..<count {
      let roll = random(100)
      let fate: Fate =
        roll < deferred ? .deferred : roll < deferred + rejected ? .rejected : .accepted
      let (address, source) = sender(number)
      send(
        at: begin + Double(number) / rate, from: address, source: source,
        to: [("victim\(number)@target\(number % domains).example", fate)], isList: isList,
        name: name)
    }
  }
}

@Suite("What is a storm")
struct StormKindTests {
  @Test("a hijacked account is told within 10 s and 150 messages, narrowest offender first")
  func relaySender() {
    var scenario = Scenario()
    scenario.flood(at: 5) { _ in ("alice@mx.test", alice) }
    scenario.clock(to: 60)
    let outcome = scenario.run()
    #expect(outcome.began.count == 1)
    guard let (time, storm) = outcome.began.first else { return }
    #expect(storm.kind == .relaySender)
    #expect(
      storm.offenders == [.sender(Address("alice@mx.test")), .user("alice"), .client("127.66.6.6")])
    #expect(storm.began == start + .milliseconds(5004) || storm.began == start + .seconds(5))
    #expect(time.seconds(since: storm.began) < 3.7)
    #expect(outcome.grave.contains { $0.evidence.failuresProven })
    // Every message that still waits, and no bounce.
    #expect(Set(outcome.joinedNames) == ["flood"])
    #expect(Set(outcome.joined).count == outcome.joined.count)
    #expect(outcome.joined.count > 170)
  }

  @Test(
    "however the dice fall: a storm before its 150th message, proven by failures before its end")
  func seeds() {
    for seed in 1...40 {
      var scenario = Scenario(seed: UInt64(seed * 7919))
      if seed % 2 == 0 { scenario.ordinaryMail(to: 30, every: 0.3) }
      scenario.flood(at: 5) { _ in ("alice@mx.test", alice) }
      scenario.clock(to: 30)
      let outcome = scenario.run()
      #expect(outcome.began.map(\.storm.kind) == [.relaySender])
      guard let began = outcome.began.first else { continue }
      #expect(began.time < start + .milliseconds(5000 + 3700), "\(seed)")
      #expect(outcome.grave.contains { $0.evidence.failuresProven })
    }
  }

  @Test("the same beside ordinary mail: nobody else is touched, not even alice's own earlier mail")
  func membership() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 60, every: 0.7)
    scenario.send(
      at: 10, from: "alice@mx.test",
      source: .network(client: "10.0.0.7", helo: nil, user: "alice"),
      to: [("mum@home.example", .deferred)], name: "her own")
    scenario.send(
      at: 14, from: "alice@mx.test", source: alice, to: [("mum@home.example", .deferred)],
      name: "her own")
    scenario.flood(at: 20) { _ in ("alice@mx.test", alice) }
    scenario.send(
      at: 24, from: "alice@mx.test",
      source: .network(client: "10.0.0.7", helo: nil, user: "alice"),
      to: [("mum@home.example", .deferred)], name: "her own")
    scenario.clock(to: 60)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.relaySender])
    #expect(Set(outcome.joinedNames) == ["flood"])
  }

  @Test(
    "the clock set by hours: no storm comes of it, one that goes on stays the same, and the next is found",
    arguments: [5, -5])
  func clockSet(hours: Int) {
    var before = Scenario()
    before.ordinaryMail(to: 600, every: 0.5)
    before.flood(at: 585) { _ in ("alice@mx.test", alice) }
    before.clock(to: 600)
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    #expect(before.run(&detector).began.count == 1)

    let shift = Duration.seconds(hours * 3600)
    detector.clockWasSet(by: shift, at: start + .seconds(600) + shift)
    let now = 600 + Double(hours * 3600)
    var after = Scenario(seed: 7)
    after.ordinaryMail(from: now, to: now + 300, every: 0.5)
    after.flood(at: now + 200) { _ in ("bob@mx.test", bob) }
    for tick in 0...600 {
      after.observe(
        .counts(QueueCounts(messages: 10, unprocessed: 0)), at: now + Double(tick) * 0.5)
    }
    let outcome = after.run(&detector)
    #expect(outcome.began.map(\.storm.offenders.first) == [.sender(Address("bob@mx.test"))])
    #expect(outcome.began.map(\.storm.incident) == [2])
    #expect(outcome.ended.isEmpty)
    #expect(detector.storms.map(\.incident) == [1, 2])
  }

  @Test("a web script is told by its uid")
  func localScript() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 30, every: 0.7)
    scenario.flood(at: 5) { _ in ("alice@mx.test", .uid(33)) }
    for number in 0..<5 {
      scenario.send(
        at: 6 + Double(number), from: "www-data@mx.test", source: .uid(33),
        to: [("info@mx.test", .deferred)], name: "contact form")
    }
    let outcome = scenario.run()
    #expect(outcome.began.count == 1)
    #expect(outcome.began.first?.storm.kind == .localScript)
    #expect(outcome.began.first?.storm.offenders.first == .uid(33))
    #expect(Set(outcome.joinedNames) == ["flood"])
  }

  @Test(
    "a flood deferred everywhere is a storm within 10 s although nothing fails",
    arguments: [true, false])
  func allDeferred(isQuiet: Bool) {
    var scenario = Scenario()
    if !isQuiet { scenario.ordinaryMail(to: 30, every: 0.4) }
    scenario.flood(at: 5, deferred: 100, rejected: 0) { _ in ("www@mx.test", .uid(33)) }
    scenario.clock(to: 30)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.localScript])
    if let began = outcome.began.first { #expect(began.time < start + .seconds(15)) }
    #expect(outcome.joined.count == 300)
  }

  @Test("random senders from one account or one client name what they share")
  func relaySource() {
    for user in ["bob", nil] {
      var scenario = Scenario()
      scenario.ordinaryMail(to: 30, every: 0.7)
      let source = Source.network(client: "198.51.100.9", helo: nil, user: user)
      scenario.flood(at: 5) { ("x\($0)@forged\($0 % 90).example", source) }
      let outcome = scenario.run()
      #expect(outcome.began.map(\.storm.kind) == [.relaySource])
      #expect(
        outcome.began.first?.storm.offenders
          == (user.map { [.user($0)] } ?? []) + [.client("198.51.100.9")])
      // The flood, and our bounces of it to the forged senders.
      #expect(Set(outcome.joinedNames) == ["flood", "bounce of flood"])
    }
  }

  @Test("a foreign domain with rotating senders and clients is named itself")
  func senderDomain() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 30, every: 0.7)
    scenario.flood(at: 5) { number in
      (
        "x\(number)@spam.example",
        .network(client: "203.0.\(number % 250).\(number % 7)", helo: nil, user: nil)
      )
    }
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.relaySource])
    #expect(outcome.began.first?.storm.offenders == [.senderDomain(Domain("spam.example"))])
  }

  @Test(
    "a customer's server that relays for strangers is acted on only where more than usual fails",
    arguments: [13, 30])
  func relayedForStrangers(failing: Int) {
    var scenario = Scenario()
    scenario.flood(at: 5, count: 600, rate: 3, deferred: 2, rejected: failing) { number in
      (
        "x\(number)@far\(number % 300).example",
        .network(client: "198.51.100.9", helo: nil, user: nil)
      )
    }
    scenario.clock(to: 230)
    #expect(scenario.run().joined.isEmpty == (failing == 13))
  }

  @Test("a server that passes strangers' mail on to a dozen boxes is no flood of rotating names")
  func passedOnToBoxes() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 30, every: 0.7)
    for number in 0..<300 {
      scenario.send(
        at: 5 + Double(number) / 3, from: "x\(number)@far\(number % 90).example",
        source: .network(client: "198.51.100.9", helo: nil, user: nil),
        to: [
          ("box@home\(number * 7 % 13).example", number % 10 == 0 ? .rejected : .accepted)
        ])
    }
    scenario.clock(to: 120)
    #expect(scenario.run().began.isEmpty)
  }

  @Test("one account from two thousand clients is still one sender")
  func botnet() {
    var scenario = Scenario()
    scenario.flood(at: 5) { number in
      (
        "alice@mx.test",
        .network(client: "203.\(number % 200).\(number % 250).9", helo: nil, user: "alice")
      )
    }
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.relaySender])
    #expect(
      outcome.began.first?.storm.offenders == [.sender(Address("alice@mx.test")), .user("alice")])
  }

  @Test("a drip of many recipients is found within five minutes")
  func drip() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 300, every: 1)
    for number in 0..<150 {
      let recipients = (0..<20).map {
        (address: "v\($0)@d\(number * 20 + $0).example", fate: $0 < 14 ? Fate.rejected : .accepted)
      }
      scenario.send(
        at: Double(number) * 2, from: "carol@mx.test",
        source: .network(client: "10.0.0.3", helo: nil, user: "carol"), to: recipients,
        name: "drip")
    }
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.relaySender])
    #expect(outcome.began.first?.storm.offenders.first == .sender(Address("carol@mx.test")))
  }

  @Test("notices to users who do not exist are backscatter: victims, and no offender")
  func backscatter() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 30, every: 0.7)
    for number in 0..<300 {
      scenario.send(
        at: 5 + Double(number) / 40, from: "",
        source: .network(client: "198.51.100.\(number % 80)", helo: nil, user: nil),
        to: [("nobody\(number)@mx.test", .rejected)], delay: 0.006, name: "notice")
    }
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.backscatterIn])
    guard let (time, storm) = outcome.began.first else { return }
    #expect(storm.offenders.isEmpty)
    #expect(storm.victims == ["mx.test"])
    #expect(time < start + .milliseconds(5000 + 3750))
  }

  @Test("a forged address that exists is named as the victim; answers to real mail do not join")
  func joeJob() {
    var scenario = Scenario()
    scenario.send(
      at: 1, from: "carol@mx.test", source: .network(client: "10.0.0.3", helo: nil, user: "carol"),
      to: [("gone@far.example", .accepted)])
    for number in 0..<200 {
      scenario.send(
        at: 5 + Double(number) / 10, from: "",
        source: .network(client: "198.51.100.\(number % 80)", helo: nil, user: nil),
        to: [("bob@mx.test", .deferred)], name: "notice")
    }
    scenario.send(
      at: 20, from: "", source: .network(client: "192.0.2.1", helo: nil, user: nil),
      to: [("carol@mx.test", .deferred)], name: "answer")
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.backscatterIn])
    #expect(outcome.began.first?.storm.victims == ["mx.test", "bob@mx.test"])
    #expect(Set(outcome.joinedNames) == ["notice"])
  }

  @Test("our bounces to forged senders: victims named, and the client only where there is one")
  func bounceOut() {
    for clients in [86, 1] {
      var scenario = Scenario()
      scenario.ordinaryMail(to: 30, every: 0.7)
      for number in 0..<300 {
        scenario.send(
          at: 5 + Double(number) / 40, from: "forged\(number % 100)@innocent\(number % 80).example",
          source: .network(client: "203.0.113.\(number % clients)", helo: nil, user: nil),
          to: [("nobody\(number)@mx.test", .rejected)], delay: 0.006, name: "spam")
      }
      let outcome = scenario.run()
      #expect(outcome.began.map(\.storm.kind) == [.bounceOut])
      guard let storm = outcome.began.first?.storm else { return }
      #expect(storm.offenders == (clients == 1 ? [.client("203.0.113.0")] : []))
      #expect(storm.victims.first == "mx.test")
      #expect(storm.victims.contains("innocent1.example"))
    }
  }

  /// Ten strangers' messages a second to a user of ours.
  private func busyServer(messages: Int) -> Scenario {
    var scenario = Scenario()
    for number in 0..<messages {
      scenario.send(
        at: Double(number) / 10, from: "writer\(number)@far\(number % 90).example",
        source: .network(client: "198.18.\(number / 200).\(number % 200)", helo: nil, user: nil),
        to: [("bob@mx.test", .accepted)])
    }
    return scenario
  }

  @Test("a host whose mail reaches nobody is found on a busy server too, and named alone")
  func bounceOutOnBusyServer() {
    var scenario = busyServer(messages: 1200)
    for number in 0..<180 {
      scenario.send(
        at: 60 + Double(number) / 3, from: "forged\(number)@innocent\(number % 80).example",
        source: .network(client: "203.0.113.9", helo: nil, user: nil),
        to: [("nobody\(number)@mx.test", .rejected)], delay: 0.006, name: "spam")
    }
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.bounceOut])
    #expect(outcome.began.first?.storm.offenders == [.client("203.0.113.9")])
    #expect(outcome.began.first.map { $0.time < start + .seconds(76) } == true)
  }

  @Test("so is one sender whose mail reaches nobody, though it comes from many hosts")
  func bounceOutOfOneSender() {
    var scenario = busyServer(messages: 1800)
    for number in 0..<120 {
      scenario.send(
        at: 60 + Double(number), from: "win@lotto.example",
        source: .network(client: "203.0.113.\(number % 100)", helo: nil, user: nil),
        to: [("nobody\(number)@mx.test", .rejected)], delay: 0.006, name: "spam")
    }
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.bounceOut])
    #expect(outcome.began.first?.storm.offenders == [.sender(Address("win@lotto.example"))])
  }

  @Test("a known correspondent's failure is no part of a bounce-out")
  func acquaintance() {
    var scenario = Scenario()
    let carl = Source.network(client: "192.0.2.77", helo: nil, user: nil)
    scenario.send(at: 1, from: "carl@firm.example", source: carl, to: [("bob@mx.test", .accepted)])
    for number in 0..<200 {
      // Bounces that wait: the forged senders' hosts defer them.
      scenario.bounceWaiting(
        at: 5 + Double(number) / 20, to: "forged\(number % 70)@innocent\(number % 60).example",
        client: "203.0.113.\(number % 50)", name: "forged")
    }
    scenario.bounceWaiting(at: 12, to: "carl@firm.example", client: "192.0.2.77", name: "carl")
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.bounceOut])
    #expect(Set(outcome.joinedNames) == ["forged"])
    // The first from each of fifty hosts might be an honest writer's.
    #expect(outcome.joined.count == 150)
  }

  /// Mail of strangers for a domain that we take it for and pass it on to its own host, found in the queue when it was whole.
  private func passedOn(_ count: Int, gone: (Int) -> Bool, from sender: (Int) -> (String, Source))
    -> Outcome
  {
    var scenario = Scenario()
    for number in 0..<count {
      let (address, source) = sender(number)
      let at = 5 + Double(number) / 20
      let identity = EntryIdentity(
        id: UInt64(9000 + 2 * number), birth: start + .milliseconds(Int64(at * 1000)))
      scenario.observe(
        .arrival(
          Entry(
            identity: identity, size: 900, sender: Address(address), source: source,
            remote: [Recipient(address: Address("box\(number)@branch.example"))])), at: at)
      scenario.observe(.departure(id: identity.id), at: at + 0.3)
      guard gone(number) else { continue }
      let bounce = EntryIdentity(id: identity.id + 1, birth: identity.birth + .milliseconds(250))
      let home = Recipient(address: Address("postmaster@mx.test"))
      scenario.observe(
        .arrival(
          Entry(
            identity: bounce, size: 900, sender: address.isEmpty ? .doubleBounce : .null,
            source: .bounce(original: .init(sender: Address(address), source: source)),
            local: address.isEmpty ? [home] : [],
            remote: address.isEmpty ? [] : [Recipient(address: Address(address))])), at: at + 0.25)
    }
    scenario.clock(to: 60)
    var detector = StormDetector(
      settings: DetectorSettings(), localDomains: ours.union([Domain("branch.example")]))
    return scenario.run(&detector)
  }

  @Test(
    "mail for a domain that we pass on comes in: backscatter, bounces to strangers, newsletters")
  func gateway() {
    func host(_ number: Int, of count: Int) -> Source {
      .network(client: "203.0.113.\(number % count)", helo: nil, user: nil)
    }
    let notices = passedOn(300, gone: { _ in true }) { ("", host($0, of: 80)) }
    #expect(notices.began.map(\.storm.kind) == [.backscatterIn])
    #expect(notices.began.first?.storm.offenders == [])

    let spam = passedOn(300, gone: { _ in true }) {
      ("forged\($0)@innocent\($0 % 80).example", host($0, of: 1))
    }
    #expect(spam.began.map(\.storm.kind) == [.bounceOut])
    #expect(spam.began.first?.storm.offenders == [.client("203.0.113.0")])
    #expect(spam.began.first?.storm.victims.first == "branch.example")

    // An honest one to many who have left is bounced to its own sender.
    let news = passedOn(300, gone: { $0 % 2 == 0 }) { ("news@shop.example", host($0, of: 1)) }
    #expect(!news.began.contains { $0.storm.kind == .relaySender })
  }

  @Test("a stalled qmail-send and a full disk are stalls, and end when it moves again")
  func stall() {
    var scenario = Scenario()
    for second in 0..<30 {
      scenario.observe(
        .counts(QueueCounts(messages: 50 + second, unprocessed: second)), at: Double(second))
    }
    for second in 30..<200 {
      scenario.observe(.counts(QueueCounts(messages: 80, unprocessed: 0)), at: Double(second))
    }
    scenario.observe(
      .health(QueueHealth(senderIsRunning: true, freeSpace: 0.01, freeInodes: 0.5)), at: 200)
    scenario.observe(.counts(QueueCounts(messages: 80, unprocessed: 0)), at: 201)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.stall, .stall])
    #expect(outcome.began.first.map { $0.time < start + .seconds(12) } == true)
    #expect(outcome.ended.count == 1)
    #expect(outcome.began.last?.storm.reason.contains("full") == true)
  }

  @Test("qmail-send that is down is a stall after some seconds, a restart is none")
  func down() {
    var scenario = Scenario()
    func health(_ running: Bool, _ second: Double) {
      scenario.observe(
        .health(QueueHealth(senderIsRunning: running, freeSpace: 0.5, freeInodes: 0.5)), at: second)
    }
    health(true, 0)
    health(false, 5)
    health(true, 8)
    health(false, 20)
    health(false, 27)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.stall])
    #expect(outcome.began.first?.time == start + .seconds(27))
  }
}

@Suite("What is no storm")
struct InnocenceTests {
  /// 97 % accepted.
  private func fate(_ scenario: inout Scenario) -> Fate {
    let roll = scenario.random(100)
    return roll < 2 ? .rejected : roll < 3 ? .deferred : .accepted
  }

  @Test("a Mailman burst, an invoice run and a list without marks, beside ordinary mail")
  func bursts() {
    for style in ["mailman", "invoices", "unmarked list"] {
      var scenario = Scenario()
      scenario.ordinaryMail(to: 60, every: 0.7)
      for number in 0..<400 {
        let member = "member\(number)@home\(number % 60).example"
        let sender =
          switch style {
          case "mailman": "list-bounces+member\(number)=home\(number % 60).example@mx.test"
          case "invoices": "billing@mx.test"
          default: "news@club.example"
          }
        let source =
          style == "mailman"
          ? Source.uid(38)
          : .network(client: style == "invoices" ? "10.0.0.9" : "192.0.2.5", helo: nil, user: nil)
        scenario.send(
          at: 5 + Double(number) / 20, from: sender, source: source,
          to: [(member, fate(&scenario))], isList: style == "mailman")
      }
      let outcome = scenario.run()
      #expect(outcome.began.isEmpty, "\(style): \(outcome.began.map(\.storm.reason))")
      #expect(outcome.joined.isEmpty)
    }
  }

  @Test("an invoice run whose recipients are slow to answer, so that most of it waits its turn")
  func slowRecipients() {
    var scenario = Scenario()
    scenario.clock(to: 120, every: 0.25)
    for number in 0..<400 {
      // Injected at 40/s, twenty at a time, five seconds each.
      let born = Double(number) / 40
      let done = 5 + Double(number / 20) * 5
      scenario.send(
        at: born, from: "billing@mx.test",
        source: .network(client: "10.0.0.9", helo: nil, user: "billing"),
        to: [("member\(number)@home\(number % 90).example", fate(&scenario))],
        delay: max(0.1, done - born))
    }
    let outcome = scenario.run()
    #expect(outcome.grave.isEmpty, "\(outcome.began.map(\.storm.reason))")
  }

  @Test("a newsletter by qmail's VERP: one message, 315 recipients, 5 % failing")
  func newsletter() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 30, every: 0.7)
    let recipients = (0..<315).map {
      (address: "m\($0)@home\($0 % 10).example", fate: $0 % 20 == 0 ? Fate.rejected : .accepted)
    }
    scenario.send(
      at: 5, from: "news-return-7-@mx.test-@[]", source: .uid(1000), to: recipients, isList: true)
    let outcome = scenario.run()
    #expect(outcome.began.isEmpty)
  }

  @Test("one mail to thirty friends, one of whom has moved")
  func friends() {
    var scenario = Scenario()
    let recipients = (0..<30).map {
      (address: "f\($0)@home\($0).example", fate: $0 == 3 ? Fate.rejected : .accepted)
    }
    for second in [5.0, 50, 100] {
      scenario.send(
        at: second, from: "dave@mx.test",
        source: .network(client: "10.0.0.4", helo: nil, user: "dave"), to: recipients)
    }
    #expect(scenario.run().began.isEmpty)
  }

  @Test("a provider's outage with forty users is a surge that names it, even behind one client")
  func outage() {
    for isShared in [false, true] {
      var scenario = Scenario()
      scenario.ordinaryMail(to: 120, every: 0.5)
      for number in 0..<240 {
        let user = number % 40
        scenario.send(
          at: 5 + Double(number) / 4, from: "user\(user)@mx.test",
          source: .network(
            client: isShared ? "10.0.0.1" : "10.0.8.\(user)", helo: nil, user: "user\(user)"),
          to: [("friend\(number)@bigmail.example", .deferred)])
      }
      let outcome = scenario.run()
      #expect(outcome.grave.isEmpty, "\(outcome.began.map(\.storm.reason))")
      #expect(outcome.began.map(\.storm.kind) == [.surge])
      #expect(outcome.began.first?.storm.victims == ["bigmail.example"])
    }
  }

  @Test("a busy Monday, and greylisting for somebody who sends little")
  func monday() {
    var scenario = Scenario()
    scenario.ordinaryMail(to: 120, every: 0.14)
    for number in 0..<25 {
      scenario.send(
        at: 5 + Double(number) * 4, from: "erin@mx.test",
        source: .network(client: "10.0.0.5", helo: nil, user: "erin"),
        to: [("f\(number)@grey\(number).example", .deferred)])
    }
    let outcome = scenario.run()
    #expect(outcome.began.isEmpty, "\(outcome.began.map(\.storm.reason))")
  }

  @Test("our own line down: everybody's mail waits, nobody is to blame")
  func ownOutage() {
    var scenario = Scenario()
    for number in 0..<400 {
      let office = number % 8
      scenario.send(
        at: 5 + Double(number) / 8, from: "user\(number % 40)@mx.test",
        source: .network(client: "10.0.9.\(office)", helo: nil, user: "user\(number % 40)"),
        to: [("f\(number)@home\(number % 200).example", .deferred)])
    }
    scenario.clock(to: 90)
    let outcome = scenario.run()
    #expect(outcome.grave.isEmpty, "\(outcome.began.map(\.storm.reason))")
  }

  @Test("our own line down is told of once, and no big provider is blamed for it")
  func ownOutageAmongProviders() {
    var scenario = Scenario()
    for number in 0..<600 {
      let office = number % 8
      let provider = ["bigmail.example", "outmail.example", "webpost.example"][number / 2 % 3]
      scenario.send(
        at: 5 + Double(number) / 8, from: "user\(number % 40)@mx.test",
        source: .network(client: "10.0.9.\(office)", helo: nil, user: "user\(number % 40)"),
        to: [
          ("f\(number)@\(number % 2 == 0 ? provider : "home\(number % 200).example")", .deferred)
        ])
    }
    scenario.clock(to: 120)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.kind) == [.surge])
    #expect(outcome.began.first?.storm.reason.contains("our own line") == true)
    #expect(outcome.began.first?.storm.victims == [])
  }

  @Test(
    "a list of which a fifteenth fails, seen by a watcher that learns of deliveries five seconds late"
  )
  func lateOutcomes() {
    var scenario = Scenario()
    for number in 0..<400 {
      let isGone = number % 15 == 0
      let sent = 5 + Double(number) / 20
      scenario.send(
        at: sent, from: "news@club.example",
        source: .network(client: "192.0.2.5", helo: nil, user: nil),
        to: [("m\(number)@home\(number % 60).example", isGone ? .rejected : .accepted)],
        delay: isGone ? 0.05 : 5)
    }
    scenario.clock(to: 60)
    #expect(scenario.run().grave.isEmpty)
  }

  @Test("notices to addresses made for a list's members answer a list of yesterday")
  func listNotices() {
    var scenario = Scenario()
    for number in 0..<120 {
      scenario.send(
        at: 5 + Double(number) / 4, from: "",
        source: .network(client: "198.51.100.\(number % 80)", helo: nil, user: nil),
        to: [("club-bounces+m\(number)=far.example@mx.test", .accepted)])
    }
    scenario.clock(to: 60)
    #expect(scenario.run().began.isEmpty)
  }

  @Test("forwarded mail is not its forwarder's doing")
  func forwarding() {
    var scenario = Scenario()
    for number in 0..<200 {
      scenario.send(
        at: Double(number) / 5, from: "spam\(number)@far.example", source: .alias,
        to: [("bob@private.example", number % 2 == 0 ? .rejected : .deferred)])
    }
    #expect(scenario.run().grave.isEmpty)
  }

  @Test("nor is it where the log alone tells of most of it")
  func forwardingLogged() {
    var scenario = Scenario()
    func tell(
      _ id: UInt64, _ at: Double, _ sender: String, _ uid: UInt32, _ to: String,
      _ outcome: SendLogLine.Outcome, _ source: Source?
    ) {
      let isLocal = to.hasSuffix("@mx.test")
      let channel = isLocal ? Channel.local : .remote
      if let source {
        scenario.observe(
          .arrival(
            Entry(
              identity: EntryIdentity(id: id, birth: start + .milliseconds(Int64(at * 1000))),
              sender: Address(sender), source: source,
              local: isLocal ? [Recipient(address: Address(to))] : [],
              remote: isLocal ? [] : [Recipient(address: Address(to))])), at: at)
      }
      let lines: [SendLogLine] = [
        .info(id: id, bytes: 900, sender: Address(sender), pid: Int(id), uid: uid),
        .starting(delivery: id, id: id, channel: channel, recipient: Address(to)),
        .outcome(delivery: id, outcome, text: ""), .end(id: id),
      ]
      for line in lines { scenario.observe(.log(line), at: at) }
      if source != nil { scenario.observe(.departure(id: id), at: at) }
    }
    // Whose uid is whose.
    tell(
      7001, 1, "a@far.example", 1002, "bob@mx.test", .success,
      .network(client: "198.18.7.7", helo: nil, user: nil))
    tell(7002, 2, "", 1006, "bob@mx.test", .success, .bounce(original: nil))
    tell(7003, 3, "a@far.example", 1001, "bob@private.example", .success, .alias)
    for number in 0..<200 {
      tell(
        UInt64(8000 + number), 5 + Double(number) / 5, "boss@far.example", 1001,
        "bob@private\(number % 30).example", number % 2 == 0 ? .failure : .success, nil)
    }
    scenario.clock(to: 60)
    #expect(scenario.run().grave.isEmpty)
  }

  @Test(
    "mail that a user's program sends on is not its uid's doing, but a flood under names of its own is"
  )
  func sentOn() {
    var scenario = Scenario()
    for number in 0..<300 {
      let sender = "writer\(number)@far\(number % 90).example"
      scenario.send(
        at: Double(number) / 2, from: sender,
        source: .network(client: "198.18.7.\(number % 200)", helo: nil, user: nil),
        to: [("bob@mx.test", .accepted)])
      scenario.send(
        at: Double(number) / 2 + 0.02, from: sender, source: .uid(89),
        to: [
          (
            "bob\(number % 40)@private\(number % 30).example",
            number % 3 == 0 ? .rejected : .deferred
          )
        ],
        name: "sent on")
    }
    #expect(scenario.run().began.isEmpty)
    scenario.flood(at: 40) { ("x\($0)@forged\($0 % 90).example", .uid(89)) }
    scenario.clock(to: 200)
    let outcome = scenario.run()
    #expect(outcome.began.map(\.storm.offenders) == [[.uid(89)]])
    #expect(!outcome.joinedNames.contains("sent on"))
  }

  @Test(
    "holiday notices to those who wrote are no flood, however many are refused",
    arguments: ["bob@mx.test", ""])
  func answers(sender: String) {
    var scenario = Scenario()
    for number in 0..<150 {
      let writer = "writer\(number)@far\(number % 90).example"
      scenario.send(
        at: Double(number) / 2, from: writer,
        source: .network(client: "198.18.7.\(number)", helo: nil, user: nil),
        to: [("bob@mx.test", .accepted)])
      scenario.send(
        at: Double(number) / 2 + 0.02, from: sender, source: .uid(2000),
        to: [(writer, number % 3 == 0 ? .accepted : .rejected)])
    }
    #expect(scenario.run().began.isEmpty)
  }

  @Test("a name that came in once hides no flood")
  func sentOnTooOften() {
    var scenario = Scenario()
    scenario.send(
      at: 1, from: "boss@far.example",
      source: .network(client: "198.18.7.7", helo: nil, user: nil), to: [("bob@mx.test", .accepted)]
    )
    scenario.flood(at: 5) { _ in ("boss@far.example", .uid(33)) }
    scenario.clock(to: 30)
    #expect(scenario.run().began.map(\.storm.kind) == [.localScript])
  }

  @Test("a flood to the same three addresses, all of which refuse it, is a storm")
  func bomb() {
    var scenario = Scenario()
    for number in 0..<100 {
      scenario.send(
        at: 5 + Double(number) / 4, from: "alice@mx.test", source: .uid(33),
        to: [("victim\(number % 3)@acme.example", .rejected)])
    }
    scenario.clock(to: 60)
    #expect(scenario.run().grave.map(\.kind) == [.localScript])
  }

  @Test(
    "alarms by the hundred, of whose two readers one has left, are told of; a flood by the same uid is found"
  )
  func alarms() {
    var scenario = Scenario()
    for number in 0..<200 {
      scenario.send(
        at: 5 + Double(number) / 4, from: "nagios@mx.test", source: .uid(112),
        to: [
          number % 2 == 0
            ? ("oncall@bigmail.example", .accepted) : ("former@acme.example", .rejected)
        ])
    }
    scenario.clock(to: 60)
    let told = scenario.run()
    #expect(told.grave.isEmpty)
    #expect(told.began.map(\.storm.kind) == [.surge])
    #expect(told.began.first?.storm.reason.contains("written to again and again") == true)

    scenario.flood(at: 70) { _ in ("nagios@mx.test", .uid(112)) }
    let outcome = scenario.run()
    #expect(outcome.changed.last?.kind == .localScript)
    #expect(Set(outcome.joinedNames) == ["flood"])
  }

  @Test("a web form that also sends a copy to its owner is found by what the others refuse")
  func webForm() {
    var detector = StormDetector(settings: DetectorSettings(), localDomains: ours)
    var began: [Storm] = []
    for number in 0..<120 {
      let birth = start + .milliseconds(Int64(number) * 400)
      let (id, owner) = (UInt64(7000 + number), Address("info@mx.test"))
      let to = Address("v\(number)@target\(number % 60).example")
      let www = Address("www@mx.test")
      let entry = Entry(
        identity: EntryIdentity(id: id, birth: birth), sender: www, source: .uid(33),
        local: [Recipient(address: owner)], remote: [Recipient(address: to)])
      let outcome: SendLogLine.Outcome = number % 5 == 0 ? .success : .failure
      let events: [Observation.Event] = [
        .arrival(entry), .log(.info(id: id, bytes: 900, sender: www, pid: number, uid: 33)),
        .log(.starting(delivery: 1, id: id, channel: .local, recipient: owner)),
        .log(.starting(delivery: 2, id: id, channel: .remote, recipient: to)),
        .log(.outcome(delivery: 1, .success, text: "")),
        .log(.outcome(delivery: 2, outcome, text: "")), .log(.end(id: id)), .departure(id: id),
      ]
      for event in events {
        for case .began(let storm) in detector.observe(Observation(time: birth, event: event)) {
          began.append(storm)
        }
      }
    }
    #expect(began.map(\.kind) == [.localScript])
    #expect(began.first.map { $0.evidence.messages <= 40 } == true)
  }

  @Test(
    "newsletter of which half waits: a poller that sees what waits and not what leaves at once takes it for no storm"
  )
  func newsletterHalfWaits() {
    var scenario = Scenario()
    let news = Source.network(client: "10.0.0.7", helo: nil, user: "news")
    for number in 0..<300 {
      let at = 5 + Double(number) / 4
      let waits = number % 2 == 0
      let to = Address("m\(number)@home\(number % 60).example")
      let (id, sender) = (UInt64(7000 + number), Address("news@mx.test"))
      let lines: [SendLogLine] = [
        .info(id: id, bytes: 900, sender: sender, pid: number, uid: 1002),
        .starting(delivery: UInt64(number), id: id, channel: .remote, recipient: to),
        .outcome(delivery: UInt64(number), waits ? .deferral : .success, text: ""),
      ]
      for line in lines.dropLast() { scenario.observe(.log(line), at: at) }
      scenario.observe(.log(lines[2]), at: at + 0.2)
      guard waits else {
        scenario.observe(.log(.end(id: id)), at: at + 0.2)
        continue
      }
      scenario.observe(
        .arrival(
          Entry(
            identity: EntryIdentity(id: id, birth: start + .milliseconds(Int64(at * 1000))),
            sender: sender, source: news, remote: [Recipient(address: to)])), at: at + 0.1)
    }
    scenario.clock(to: 90)
    #expect(scenario.run().grave.isEmpty)
  }

  @Test(
    "where receivers refuse everybody's mail, an invoice run is no storm: our address may be on a blacklist"
  )
  func blacklisted() {
    var scenario = Scenario()
    for number in 0..<150 {
      let user = number % 30
      scenario.send(
        at: Double(number) * 0.9, from: "user\(user)@mx.test",
        source: .network(client: "10.0.0.\(user)", helo: nil, user: "user\(user)"),
        to: [("friend\(number)@d\(number % 70).example", number % 5 < 3 ? .rejected : .accepted)])
    }
    let orders = Source.network(client: "10.0.1.9", helo: nil, user: "orders")
    scenario.flood(at: 60, count: 200, rate: 4, deferred: 2, rejected: 60) { _ in
      ("orders@mx.test", orders)
    }
    scenario.clock(to: 150)
    let outcome = scenario.run()
    #expect(outcome.grave.isEmpty && outcome.joined.isEmpty)
    #expect(outcome.began.map(\.storm.kind) == [.surge])
    #expect(outcome.began.first?.storm.reason.contains("blacklist") == true)
  }

  @Test("a script is told by its uid where the log alone tells of what failed")
  func scriptLogged() {
    var scenario = Scenario()
    let www = Address("www@mx.test")
    for number in 0..<150 {
      let (id, at) = (UInt64(7000 + number), 5 + Double(number) / 3)
      let waits = number % 5 == 0
      let to = Address("v\(number)@target\(number % 60).example")
      let lines: [SendLogLine] = [
        .info(id: id, bytes: 900, sender: www, pid: number, uid: 33),
        .starting(delivery: id, id: id, channel: .remote, recipient: to),
        .outcome(delivery: id, waits ? .success : .failure, text: ""), .end(id: id),
      ]
      for line in lines.prefix(waits ? 2 : 4) { scenario.observe(.log(line), at: at) }
      guard waits else { continue }
      let identity = EntryIdentity(id: id, birth: start + .milliseconds(Int64(at * 1000)))
      scenario.observe(
        .arrival(
          Entry(identity: identity, sender: www, source: .uid(33), remote: [Recipient(address: to)])
        ),
        at: at + 0.1)
      for line in lines.suffix(2) { scenario.observe(.log(line), at: at + 0.2) }
      scenario.observe(.departure(id: id), at: at + 0.25)
    }
    scenario.clock(to: 70)
    #expect(scenario.run().began.map(\.storm.kind) == [.localScript])
  }

  @Test("old mail found at the start is no burst")
  func firstPass() {
    var scenario = Scenario()
    for number in 0..<500 {
      scenario.observe(
        .arrival(
          Entry(
            identity: .init(
              id: UInt64(number + 1), birth: start - .seconds(Int64(3600 + number * 60))),
            sender: Address("alice@mx.test"), source: alice,
            remote: [Recipient(address: Address("v\(number)@d\(number).example"))])), at: 0)
    }
    scenario.clock(to: 120)
    #expect(scenario.run().began.isEmpty)
  }

  @Test(
    "a list that has lost the domain of most members is told of, its marks seen before or after the log told of it",
    arguments: [true, false])
  func lostDomain(isLogged: Bool) {
    var scenario = Scenario()
    for number in 0..<300 {
      let at = 5 + Double(number) / 8
      let isGone = number % 5 < 3
      let to = Address("m\(number)@" + (isGone ? "dead.example" : "home\(number % 60).example"))
      let (id, sender) = (UInt64(7000 + number), Address("club-owner@mx.test"))
      let entry = Entry(
        identity: EntryIdentity(id: id, birth: start + .milliseconds(Int64(at * 1000))),
        sender: sender, source: .uid(38), isList: true, remote: [Recipient(address: to)])
      let lines: [SendLogLine] = [
        .info(id: id, bytes: 900, sender: sender, pid: number, uid: 38),
        .starting(delivery: 1, id: id, channel: .remote, recipient: to),
        .outcome(delivery: 1, isGone ? .failure : .success, text: ""), .end(id: id),
      ]
      if !isLogged { scenario.observe(.arrival(entry), at: at) }
      for line in lines.dropLast(2) { scenario.observe(.log(line), at: at + 0.01) }
      if isLogged { scenario.observe(.arrival(entry), at: at + 0.02) }
      for line in lines.suffix(2) { scenario.observe(.log(line), at: at + 0.1) }
      scenario.observe(.departure(id: id), at: at + 0.11)
    }
    scenario.clock(to: 60)
    let outcome = scenario.run()
    #expect(outcome.grave.isEmpty)
    #expect(outcome.began.map(\.storm.kind) == [.surge])
  }

  @Test("a List-Id does not save a flood that fails")
  func fakeList() {
    var scenario = Scenario()
    scenario.flood(at: 5, isList: true) { _ in ("alice@mx.test", alice) }
    scenario.clock(to: 30)
    #expect(scenario.run().began.map(\.storm.kind) == [.relaySender])
  }
}
