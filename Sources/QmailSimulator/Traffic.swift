import Mail

/// Made-up mail with its truth: one source for tests, demo, soak and evaluation. Seeded: the same seed gives the same mail.
///
/// Our side is `mx.test` with the users `user1` to `user40`, alice, bob, carol, dave, joe and postmaster. Outside addresses are of the
/// documentation and benchmark ranges, domains end in `.example`.
public struct Traffic: Sendable {
  /// A kind of mail, storm or innocent, after those that were produced on a real qmail.
  public enum Scenario: String, Sendable, CaseIterable {
    case ordinary
    /// A stolen password: one user, one sender, one client, many domains; 60 % deferred, 20 % rejected.
    case hijackedAccount = "hijacked-account"
    /// A sender for each message from one authenticated client.
    case randomSenders = "random-senders"
    /// A web script of uid 33.
    case webScript = "web-script"
    /// Null-sender notices from 80 hosts to local users who do not exist.
    case backscatter
    /// The same while postmaster's mailbox defers, so that the double bounces pile up.
    case backscatterDeferred = "backscatter-deferred"
    /// Spam with forged senders to local users who do not exist: our own server bounces it to innocents.
    case acceptThenBounce = "accept-then-bounce"
    /// A list manager of uid 38 that injects a message with its own sender for each member.
    case mailmanBurst = "mailman-burst"
    /// One message of many recipients with qmail's own VERP.
    case newsletter
    /// One big provider defers everything; 40 users write there.
    case providerOutage = "provider-outage"
  }

  /// One message and when it comes.
  public struct Arrival: Hashable, Sendable {
    /// Since the start of the traffic.
    public var after: Duration
    public var injection: SimulatedInjection
    public var scenario: Scenario
  }

  /// What ought to be found.
  public struct Truth: Hashable, Sendable {
    public struct Offender: Hashable, Sendable {
      /// `sender`, `client`, `user`, `uid` or `sender-domain`.
      public var type: String
      public var value: String
    }

    public var scenario: Scenario
    /// The storm kind's name; nil for innocent mail.
    public var kind: String?
    public var offenders: [Offender] = []
    /// Flooded or forged addresses or domains.
    public var victims: [String] = []
    /// badmailfrom entries that are rightful.
    public var blockable: [String] = []
    /// Senders and clients that must be neither blocked nor quarantined.
    public var innocents: [String] = []
    public var begins: Duration
    public var ends: Duration
  }

  /// In the order of their times.
  public private(set) var arrivals: [Arrival] = []
  public private(set) var truths: [Truth] = []
  /// How the recipients answer.
  public private(set) var exchanger = TrafficExchanger()

  /// Makes the mail of one scenario.
  ///
  /// - Parameters:
  ///   - messages: how many (for a newsletter: recipients of the one message).
  ///   - perSecond: the mean rate; arrivals are at random distances.
  ///   - start: when it begins; the first message comes within the next mean distance.
  public init(
    _ scenario: Scenario, messages: Int, perSecond: Double, start: Duration = .zero,
    seed: UInt64 = 1
  ) {
    var writer = Writer(scenario, seed: seed)
    for user in Writer.users { exchanger.fates[user] = .accept }
    var time = start.inSeconds
    for n in 0..<(scenario == .newsletter ? min(1, messages) : messages) {
      time += Double.random(in: 0..<2, using: &writer.random) / perSecond
      let injection = writer.next(n, of: messages)
      arrivals.append(
        Arrival(after: .seconds(time), injection: injection, scenario: scenario))
    }
    exchanger.fates.merge(writer.fates) { $1 }
    if scenario == .backscatterDeferred { exchanger.fates[Writer.local("postmaster")] = .deferred }
    if scenario == .providerOutage { exchanger.domainFates[Domain("bigmail.example")] = .deferred }
    truths = [truth(scenario, start)]
  }

  /// Both, in the order of time. Where they disagree on how a recipient answers, `b` is right, except that nobody is accepted whom
  /// the other defers.
  public static func + (a: Traffic, b: Traffic) -> Traffic {
    var sum = a
    sum.arrivals = (a.arrivals + b.arrivals).sorted { $0.after < $1.after }
    sum.truths += b.truths
    sum.exchanger.merge(b.exchanger)
    return sum
  }

  private func truth(_ scenario: Scenario, _ start: Duration) -> Truth {
    var truth = Truth(
      scenario: scenario, begins: arrivals.first?.after ?? start,
      ends: arrivals.last?.after ?? start)
    var senders: Set<String> = []
    var clients: Set<String> = []
    for arrival in arrivals {
      senders.insert(Text.decode(arrival.injection.sender.bytes))
      if case .network(let client, _, _) = arrival.injection.source { clients.insert(client) }
    }
    switch scenario {
    case .ordinary, .mailmanBurst, .newsletter, .providerOutage:
      truth.innocents = (senders.subtracting([""]).sorted() + clients.sorted())
    case .hijackedAccount:
      truth.kind = "relay-sender"
      truth.offenders = [
        .init(type: "sender", value: "alice@mx.test"), .init(type: "user", value: "alice"),
        .init(type: "client", value: "198.18.66.6"),
      ]
      truth.blockable = ["alice@mx.test"]
    case .randomSenders:
      truth.kind = "relay-source"
      truth.offenders = [
        .init(type: "user", value: "bob"), .init(type: "client", value: "198.18.77.7"),
      ]
      truth.innocents = senders.sorted()
    case .webScript:
      truth.kind = "local-script"
      truth.offenders = [.init(type: "uid", value: "33")]
    case .backscatter, .backscatterDeferred:
      truth.kind = "backscatter-in"
      truth.victims = ["mx.test"]
    case .acceptThenBounce:
      truth.kind = "bounce-out"
      truth.offenders = clients.sorted().map { .init(type: "client", value: $0) }
      truth.victims = senders.sorted()
      truth.innocents = senders.sorted()
    }
    return truth
  }
}

/// Writes the messages of one scenario.
private struct Writer {
  static let users =
    (1...40).map { local("user\($0)") }
    + ["alice", "bob", "carol", "dave", "joe", "postmaster", "www-data"].map(local)
  private static let words = [
    "orders", "invoice", "weather", "meeting", "green", "river", "paper", "window", "seven",
    "travel", "bread", "north", "letter", "music",
  ]

  var random: SplitMix64
  var fates: [Address: TrafficExchanger.Fate] = [:]
  private let scenario: Traffic.Scenario
  /// Differs for each scenario and seed, so that no two of them share an address or a Message-ID.
  private let series: String

  init(_ scenario: Traffic.Scenario, seed: UInt64) {
    self.scenario = scenario
    let place = Traffic.Scenario.allCases.firstIndex(of: scenario) ?? 0
    series = "\(seed)\(UnicodeScalar(UInt8(97 + place)))"
    random = SplitMix64(seed: seed &* 31 &+ UInt64(place))
  }

  static func local(_ name: String) -> Address { Address("\(name)@mx.test") }

  private mutating func pick(_ range: ClosedRange<Int>) -> Int {
    Int.random(in: range, using: &random)
  }

  /// A remote recipient nobody else has, in one of `domains` domains, the first of them the favoured ones.
  ///
  /// - Parameters: shares of 100 that are rejected, deferred for ever, deferred once.
  private mutating func stranger(
    _ n: Int, domains: Int, rejected: Double, deferred: Double, later: Double
  ) -> Address {
    let share = Double.random(in: 0..<100, using: &random)
    let place = Double.random(in: 0..<1, using: &random)
    let name = "\(Self.words[pick(0...13)]).\(series)\(n)"
    let address = Address("\(name)@dom\(Int(place * place * Double(domains))).example")
    if share < rejected {
      fates[address] = .reject
    } else if share < rejected + deferred {
      fates[address] = .deferred
    } else if share < rejected + deferred + later {
      fates[address] = .later(60)
    }
    return address
  }

  /// A host of the shared range, one of `count`.
  private mutating func host(_ count: Int) -> String {
    let n = pick(0...(count - 1))
    return "100.\(64 + n % 64).\(n / 7 % 250 + 1).\(n * 37 % 250 + 1)"
  }

  mutating func next(_ n: Int, of messages: Int) -> SimulatedInjection {
    switch scenario {
    case .ordinary: return ordinary(n)
    case .hijackedAccount:
      let recipients = (1...pick(1...3)).map {
        stranger(n * 3 + $0, domains: 400, rejected: 20, deferred: 60, later: 0)
      }
      return make(
        n, Self.local("alice"), recipients,
        .network(client: "198.18.66.6", helo: "laptop", user: "alice"))
    case .randomSenders:
      let sender = Address("\(Self.words[pick(0...13)]).\(n)@forged\(pick(0...399)).example")
      let recipient = stranger(n, domains: 400, rejected: 50, deferred: 40, later: 0)
      return make(
        n, sender, [recipient], .network(client: "198.18.77.7", helo: "pc7", user: "bob"))
    case .webScript:
      let recipient = stranger(n, domains: 300, rejected: 15, deferred: 75, later: 0)
      return make(n, Self.local("www-data"), [recipient], .uid(33))
    case .backscatter, .backscatterDeferred:
      return make(
        n, .null, [Self.local("nosuch\(n)")],
        .network(client: host(80), helo: "mx\(pick(1...80)).far.example", user: nil),
        subject: "Undelivered Mail Returned to Sender", from: "MAILER-DAEMON@far.example")
    case .acceptThenBounce:
      let sender = stranger(n % 100, domains: 80, rejected: 33, deferred: 34, later: 0)
      return make(
        n, sender, [Self.local("nosuch\(n)")],
        .network(client: host(12), helo: "forger.example", user: nil))
    case .mailmanBurst:
      let member = stranger(n, domains: 40, rejected: 1, deferred: 1, later: 2)
      let box = Text.decode(member.localPart)
      return make(
        n, Self.local("club-bounces+\(box)=\(member.domain.text)"), [member], .uid(38),
        subject: "[club] Meeting", from: "club@mx.test",
        more: "List-Id: <club.mx.test>\nPrecedence: list\n")
    case .newsletter:
      let members = (0..<messages).map {
        stranger($0, domains: 10, rejected: 1, deferred: 1, later: 3)
      }
      return make(
        n, Address("news-return-7-@mx.test-@[]"), members, .uid(1000), subject: "News",
        from: "news@mx.test", more: "List-Id: <news.mx.test>\nPrecedence: bulk\n")
    case .providerOutage:
      let user = pick(1...40)
      return make(
        n, Self.local("user\(user)"), [Address("friend.\(series)\(n)@bigmail.example")],
        .network(client: "10.20.0.\(user)", helo: "pc\(user)", user: "user\(user)"))
    }
  }

  /// Half of it goes out from 40 users, the most comes in from 400 hosts, a little is cron's. Of what goes out about 13 % fails at first, and
  /// a third of that is delivered later.
  private mutating func ordinary(_ n: Int) -> SimulatedInjection {
    let user = pick(1...40)
    switch pick(1...20) {
    case 1: return make(n, Self.local("root"), [Self.local("user\(user)")], .uid(0))
    case 2...10:
      let recipients = (1...(pick(1...10) == 1 ? 3 : 1)).map {
        stranger(n * 3 + $0, domains: 300, rejected: 7, deferred: 1.7, later: 4.3)
      }
      return make(
        n, Self.local("user\(user)"), recipients,
        .network(client: "10.20.0.\(user)", helo: "pc\(user)", user: "user\(user)"))
    default:
      let sender = Address("\(Self.words[pick(0...13)])@dom\(pick(0...299)).example")
      return make(
        n, sender, [Self.local("user\(user)")],
        .network(client: host(400), helo: "mail.\(sender.domain.text)", user: nil))
    }
  }

  private mutating func make(
    _ n: Int, _ sender: Address, _ recipients: [Address], _ source: Source,
    subject: String? = nil, from: String? = nil, more: String = ""
  ) -> SimulatedInjection {
    var text = """
      From: \(from ?? Text.decode(sender.bytes))
      To: \(recipients.first.map { Text.decode($0.bytes) } ?? "undisclosed")
      Subject: \(subject ?? "\(Self.words[pick(0...13)]) \(Self.words[pick(0...13)]) \(n)")
      Message-ID: <\(series)\(n)@client.example>
      \(more)\n
      """
    let size = pick(1...50) == 1 ? pick(5_000...30_000) : pick(300...3_000)
    while text.utf8.count < size {
      text += (0..<9).map { _ in Self.words[pick(0...13)] }.joined(separator: " ") + "\n"
    }
    return SimulatedInjection(
      sender: sender, recipients: recipients, source: source, message: Array(text.utf8))
  }
}
