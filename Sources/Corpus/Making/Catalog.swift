import Mail

/// The corpus: what must fire and what must not, of every kind.
public enum Catalog {
  /// What the tests play: a minute or few each.
  public static var quick: [Scenario] {
    innocents.filter { !$0.isWholeDay && $0.seconds <= 1300 } + adversarial
      + kinds(rates: [3, 20], mixes: [Mix(20, 60, 20), Mix(60, 20, 20)], seed: 5000)
  }

  /// All of it: days, and a grid of kinds, rates and mixes.
  public static var full: [Scenario] {
    innocents + adversarial
      + kinds(
        rates: [0.5, 3, 10, 60],
        mixes: [Mix(60, 20, 20), Mix(10, 10, 80), Mix(0, 90, 10), Mix(90, 5, 5), Mix(30, 30, 40)],
        seed: 7000) + days
  }

  /// The fourth user writes a lot, the 31st little.
  private static let busy = Town(users: 40, seed: 0).users[3]
  private static let quiet = Town(users: 40, seed: 0).users[31]
  private static let thief = "198.19.66.6"

  // MARK: Nothing to be found

  static var innocents: [Scenario] {
    var all: [Scenario] = []
    func add(_ name: String, minutes: Double = 6, _ change: (inout Scenario) -> Void) {
      var scenario = Scenario("quiet/" + name, seed: UInt64(100 + all.count), minutes: minutes)
      change(&scenario)
      all.append(scenario)
    }
    let orders = Source.network(client: "10.20.9.9", helo: "erp", user: "orders")
    let news = Source.network(client: "10.20.9.7", helo: "news", user: "news")
    add("ordinary mail", minutes: 15) { _ in }
    add("ordinary mail without a log", minutes: 10) { $0.hasLog = false }
    add("mailman list, 800 members") {
      $0.campaigns = [Campaign.mailman(1, at: 60, members: 800, perSecond: 12)]
    }
    add("mailman list, an eighth of the members gone") {
      $0.campaigns = [Campaign.mailman(2, at: 60, members: 600, perSecond: 12, failing: 0.12)]
    }
    add("ezmlm newsletter, 2,000 recipients") {
      $0.campaigns = [Campaign.ezmlm(3, at: 60, members: 2000)]
    }
    add("invoice run, 700 messages, 8 % fail") {
      $0.campaigns = [
        Campaign.run(
          4, from: orders, sender: "orders@mx.test", at: 60, count: 700, perSecond: 4,
          failing: 0.08,
          subject: "Invoice")
      ]
    }
    for (place, failing) in [0.2, 0.25, 0.3].enumerated() {
      for isList in [true, false] {
        add(
          "old address list, \(Int(failing * 100)) % fail\(isList ? ", List-Id" : "")", minutes: 12
        ) {
          $0.campaigns = [
            Campaign.run(
              UInt64(10 + place), from: news, sender: "news@mx.test", at: 60, count: 1500,
              perSecond: 4, failing: failing, isList: isList, subject: "Our winter offers")
          ]
        }
      }
    }
    add("shop script, 900 confirmations") {
      $0.campaigns = [
        Campaign.run(
          20, from: .uid(33), sender: "shop@mx.test", at: 30, count: 900, perSecond: 4,
          failing: 0.09, subject: "Your order")
      ]
    }
    add("provider defers everything", minutes: 10) {
      $0.perSecond = 4
      $0.outages = [.init(from: 60, to: 500, domains: [Domain("bigmail.example")])]
    }
    add("our DNS is out", minutes: 10) {
      $0.perSecond = 4
      $0.outages = [.init(from: 60, to: 400)]
    }
    add("busy monday", minutes: 20) {
      $0.perSecond = 3
      $0.campaigns = [Campaign.rush($0.town, 30, at: 120, seconds: 900, perSecond: 8)]
    }
    add("invoice run while a provider is down", minutes: 10) {
      $0.outages = [.init(from: 30, to: 600, domains: [Domain("bigmail.example")])]
      $0.campaigns = [
        Campaign.run(
          31, from: orders, sender: "orders@mx.test", at: 60, count: 700, perSecond: 4,
          failing: 0.08, subject: "Invoice")
      ]
    }
    add("list while our DNS is out", minutes: 8) {
      $0.outages = [.init(from: 30, to: 400)]
      $0.campaigns = [Campaign.mailman(33, at: 60, members: 800, perSecond: 12)]
    }
    for n in 0..<7 {
      add("a whole day, \(n + 1) of 7", minutes: 24 * 60) { day(&$0, n) }
    }
    return all
  }

  /// About 150,000 messages: rhythm, lists, newsletters, runs, an outage, and no storm.
  private static func day(_ scenario: inout Scenario, _ n: Int) {
    scenario.isWholeDay = true
    scenario.hour = 0
    scenario.users = [40, 80, 120, 160, 200, 250, 300][n % 7]
    scenario.perSecond = n % 7 >= 5 ? 1.2 : 3
    let orders = Source.network(client: "10.20.9.9", helo: "erp", user: "orders")
    let seed = UInt64(1000 + n * 50)
    scenario.campaigns = [
      Campaign.mailman(seed, at: 9.2 * 3600, members: 800, perSecond: 12),
      Campaign.mailman(seed + 1, at: 14.5 * 3600, members: 800, perSecond: 12),
      Campaign.ezmlm(seed + 2, at: 11 * 3600, members: 2000),
      Campaign.run(
        seed + 3, from: orders, sender: "orders@mx.test", at: 16 * 3600, count: 600, perSecond: 2,
        failing: 0.08, subject: "Invoice"),
      Campaign.rush(scenario.town, seed + 4, at: 8.5 * 3600, seconds: 3600, perSecond: 4),
    ]
    switch n % 7 {
    case 1:
      scenario.outages = [
        .init(from: 10 * 3600, to: 12 * 3600, domains: [Domain("bigmail.example")])
      ]
    case 2: scenario.outages = [.init(from: 15 * 3600, to: 15.3 * 3600)]
    case 3:
      scenario.campaigns.append(
        Campaign.run(
          seed + 5, from: .network(client: "10.20.9.7", helo: "news", user: "news"),
          sender: "news@mx.test", at: 13 * 3600, count: 2500, perSecond: 3, failing: 0.25,
          isList: true, subject: "Our winter offers"))
    case 4:
      scenario.campaigns.append(
        Campaign.run(
          seed + 6, from: .uid(33), sender: "shop@mx.test", at: 20 * 3600, count: 1200,
          perSecond: 5, failing: 0.09, subject: "Your order"))
    case 5:
      // Somebody travels and writes to half his address book from a hotel.
      let user = scenario.town.users[6]
      scenario.campaigns.append(
        Campaign.run(
          seed + 7, from: .network(client: "100.99.3.3", helo: "hotel", user: user.name),
          sender: Text.decode(user.address.bytes), at: 12.3 * 3600, count: 45, perSecond: 0.3,
          failing: 0.1, subject: "Season's greetings"))
    default: break
    }
  }

  // MARK: Each kind, at many rates and with many answers

  static func kinds(rates: [Double], mixes: [Mix], seed: UInt64) -> [Scenario] {
    var all: [Scenario] = []
    func add(
      _ name: String, _ rate: Double, _ mix: Mix?, _ shape: Flood.Shape, _ recipients: Int = 1
    ) {
      // A slow one needs its time; a fast one is over soon.
      let count = rate < 1 ? 150 : Int(min(max(rate * 40, 200), 900))
      var scenario = Scenario(
        "\(name) \(rate < 1 ? "0.5" : "\(Int(rate))")/s\(mix.map { " \($0)" } ?? "")",
        seed: seed + UInt64(all.count), minutes: 1 + Double(count) / rate / 60 + 1)
      var flood = Flood(shape: shape, from: 60, count: count, perSecond: rate)
      if let mix { flood.mix = mix }
      flood.recipients = recipients
      scenario.floods = [flood]
      all.append(scenario)
    }
    for rate in rates {
      for mix in mixes {
        add("stolen account", rate, mix, .account(quiet, client: thief))
        add("stolen account, 3 recipients", rate, mix, .account(busy, client: thief), 3)
        add("rotating senders", rate, mix, .rotating(quiet, client: thief, senders: .anywhere))
        add("open relay", rate, mix, .openRelay(client: thief, senders: .anywhere))
        add("web script", rate, mix, .script(uid: 33, sender: "www@mx.test"))
      }
      add(
        "rotating in a domain", rate, mixes[0],
        .openRelay(client: thief, senders: .domain("spam.example")))
      add(
        "one sender, 200 clients", rate, mixes[0],
        .manyClients(sender: "boss@spam.example", clients: 200))
      add("rotating script", rate, mixes[0], .rotatingScript(uid: 48))
      add("backscatter", rate, nil, .backscatter(hosts: 150, daemon: nil))
      add(
        "backscatter of a named daemon", rate, nil,
        .backscatter(hosts: 40, daemon: "mailer-daemon@far.example"))
      add("joe job", rate, nil, .joeJob(quiet, hosts: 300))
      add("bounce-out, 12 clients", rate, Mix(33, 34, 33), .bounceOut(clients: 12, sender: nil))
      add("bounce-out, one client", rate, Mix(33, 34, 33), .bounceOut(clients: 1, sender: nil))
      add(
        "bounce-out, one sender", rate, Mix(33, 34, 33),
        .bounceOut(clients: 30, sender: "win@lotto.example"))
    }
    return all
  }

  // MARK: Attackers who know the rules

  static var adversarial: [Scenario] {
    var all: [Scenario] = []
    func add(
      _ name: String, minutes: Double = 6, _ floods: [Flood],
      _ change: (inout Scenario) -> Void = { _ in }
    ) {
      var scenario = Scenario(name, seed: UInt64(300 + all.count), minutes: minutes)
      scenario.floods = floods
      change(&scenario)
      all.append(scenario)
    }
    func flood(
      _ shape: Flood.Shape, count: Int = 400, rate: Double = 10, from: Double = 60,
      mix: Mix = Mix(20, 60, 20), _ change: (inout Flood) -> Void = { _ in }
    ) -> Flood {
      var flood = Flood(shape: shape, from: from, count: count, perSecond: rate)
      flood.mix = mix
      change(&flood)
      return flood
    }
    add(
      "drip: 20 recipients every 2 s", minutes: 12,
      [
        flood(.account(quiet, client: thief), count: 300, rate: 0.5, mix: Mix(10, 20, 70)) {
          $0.recipients = 20
        }
      ])
    add(
      "list marks forged",
      [flood(.account(quiet, client: thief), mix: Mix(20, 30, 50)) { $0.claimsList = true }])
    add(
      "list marks forged, a script",
      [
        flood(.script(uid: 33, sender: "www@mx.test"), mix: Mix(20, 30, 50)) {
          $0.claimsList = true
        }
      ])
    add(
      "VERP-like senders",
      [flood(.openRelay(client: thief, senders: .verpLike), mix: Mix(20, 30, 50))])
    add(
      "VERP-like senders, an account",
      [flood(.rotating(quiet, client: thief, senders: .verpLike), mix: Mix(20, 30, 50))])
    add(
      "2,000 clients, one sender", [flood(.manyClients(sender: "boss@spam.example", clients: 2000))]
    )
    add("subject noise", [flood(.account(quiet, client: thief)) { $0.noisySubject = true }])
    add(
      "senders of ours, an account",
      [flood(.rotating(quiet, client: thief, senders: .ours(Town(users: 40, seed: 0))))])
    add(
      "senders of ours, a relay",
      [flood(.openRelay(client: thief, senders: .ours(Town(users: 40, seed: 0))))])
    // The thief writes as busy, with the account of quiet: busy's own mail is innocent.
    add(
      "another's name on it",
      [
        flood(
          .account(Town.User(name: quiet.name, address: busy.address, client: ""), client: thief))
      ])
    add(
      "twenty recipients a message",
      [
        flood(.account(quiet, client: thief), count: 300, rate: 5, mix: Mix(20, 40, 40)) {
          $0.recipients = 20
        }
      ])
    add(
      "pauses of two minutes", minutes: 10,
      [
        flood(.account(quiet, client: thief), count: 600, rate: 10) {
          $0.pauses = [(80, 200), (230, 350)]
        }
      ])
    add(
      "pauses of eight minutes", minutes: 16,
      [
        flood(.account(quiet, client: thief), count: 600, rate: 10) { $0.pauses = [(90, 570)] }
      ])
    add(
      "two accounts and a script at once",
      [
        flood(.account(quiet, client: thief)),
        flood(.account(busy, client: "198.19.77.7"), from: 62),
        flood(.script(uid: 48, sender: "blog@mx.test"), from: 64),
      ])
    add(
      "relay and backscatter at once",
      [
        flood(.account(quiet, client: thief)),
        flood(.backscatter(hosts: 150, daemon: nil), from: 65),
      ])
    add(
      "backscatter and bounce-out at once",
      [
        flood(.backscatter(hosts: 150, daemon: nil)),
        flood(.bounceOut(clients: 1, sender: nil), from: 65),
      ])
    add("backscatter, postmaster's box defers", [flood(.backscatter(hosts: 150, daemon: nil))]) {
      $0.fullMailboxes = [Town.local("postmaster")]
    }
    add(
      "on top of a provider's outage", minutes: 8,
      [flood(.account(quiet, client: thief), from: 120)]
    ) {
      $0.perSecond = 4
      $0.outages = [.init(from: 30, to: 480, domains: [Domain("bigmail.example")])]
    }
    add(
      "on top of our DNS outage", minutes: 12,
      [flood(.account(quiet, client: thief), count: 400, rate: 10, from: 420, mix: Mix(10, 10, 80))]
    ) {
      $0.perSecond = 3
      $0.outages = [.init(from: 30, to: 400)]
    }
    add("on top of a list", [flood(.account(quiet, client: thief), from: 62)]) {
      $0.campaigns = [Campaign.mailman(3, at: 60, members: 800, perSecond: 12)]
    }
    add("through the webmail host", [flood(.account(quiet, client: "10.20.9.80"))]) {
      $0.isWholeDay = true
    }
    add(
      "uid 33 that also confirms orders", minutes: 8,
      [flood(.script(uid: 33, sender: "www@mx.test"), from: 120)]
    ) {
      $0.isWholeDay = true
      $0.perSecond = 4
    }
    add(
      "accepted, from a new client",
      [flood(.account(quiet, client: thief), count: 600, rate: 10, mix: Mix(95, 3, 2))])
    add("qmail-send stands still", minutes: 6, [flood(.stall, count: 1, rate: 0.02, from: 120)]) {
      $0.stalls = [(120, 240)]
      $0.perSecond = 4
    }
    add("without a log: stolen account", [flood(.account(quiet, client: thief))]) {
      $0.hasLog = false
    }
    add(
      "without a log: backscatter",
      [flood(.backscatter(hosts: 150, daemon: nil), count: 800, rate: 20)]
    ) { $0.hasLog = false }
    add("without a log: open relay", [flood(.openRelay(client: thief, senders: .anywhere))]) {
      $0.hasLog = false
    }
    return all
  }

  // MARK: Days with storms in them

  static var days: [Scenario] {
    (0..<3).map { n in
      var scenario = Scenario("a day with storms \(n + 1)", seed: UInt64(900 + n), minutes: 24 * 60)
      day(&scenario, n)
      let town = scenario.town
      func hours(_ h: Double) -> Double { h * 3600 }
      func flood(_ shape: Flood.Shape, _ h: Double, _ count: Int, _ rate: Double, _ mix: Mix)
        -> Flood
      {
        var flood = Flood(shape: shape, from: hours(h), count: count, perSecond: rate)
        flood.mix = mix
        return flood
      }
      scenario.floods = [
        flood(.account(town.users[2], client: thief), 3.1, 900, 10, Mix(60, 20, 20)),
        flood(.script(uid: 33, sender: "www@mx.test"), 5.2, 600, 5, Mix(20, 60, 20)),
        flood(.account(town.users[0], client: "198.19.70.1"), 10.4, 800, 20, Mix(30, 30, 40)),
        flood(.backscatter(hosts: 150, daemon: nil), 12.7, 1500, 30, Mix(0, 0, 100)),
        flood(.joeJob(town.users[9], hosts: 300), 14.1, 600, 6, Mix(0, 0, 100)),
        flood(.bounceOut(clients: 2, sender: nil), 17.9, 600, 6, Mix(30, 30, 40)),
        flood(
          .rotating(town.users[20], client: "198.19.70.2", senders: .anywhere), 19.5, 500, 4,
          Mix(60, 20, 20)),
        flood(
          .openRelay(client: "198.19.70.3", senders: .domain("spam.example")), 22.2, 500, 8,
          Mix(10, 10, 80)),
      ]
      return scenario
    }
  }
}
