import Mail

/// Made-up mail with its truth: one source for tests, demo, soak and evaluation. Seeded: the same seed gives the same mail.
public struct Traffic: Sendable {
  /// A kind of mail, storm or innocent, after those that were produced on a real qmail.
  public enum Scenario: String, Sendable, CaseIterable {
    case ordinary
    /// A stolen password: one user, one sender, one client, many domains, half of it fails.
    case hijackedAccount = "hijacked-account"
    /// A sender for each message from one authenticated client.
    case randomSenders = "random-senders"
    /// A web script of uid 33.
    case webScript = "web-script"
    /// Null-sender notices from many hosts to local users who do not exist.
    case backscatter
    /// Spam with forged senders to local users who do not exist: our own server bounces it to innocents.
    case acceptThenBounce = "accept-then-bounce"
    /// A list manager that injects a message with its own sender for each member.
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
    public var injection: Injection
    public var scenario: Scenario
  }

  /// What ought to be found.
  public struct Truth: Hashable, Sendable {
    public var scenario: Scenario
    /// The storm kind's name; nil for innocent mail.
    public var kind: String?
    /// `type` and `value` as in the JSON contract.
    public var offenders: [Offender]
    /// Flooded or forged addresses or domains.
    public var victims: [String]
    /// badmailfrom entries that are rightful.
    public var blockable: [String]
    /// Senders and clients that must be neither blocked nor quarantined.
    public var innocents: [String]
    public var begins: Duration
    public var ends: Duration

    public struct Offender: Hashable, Sendable {
      public var type: String
      public var value: String
    }
  }

  /// In the order of their times.
  public private(set) var arrivals: [Arrival] = []
  public private(set) var truths: [Truth] = []
  /// How the recipients answer; hand it to ``SimulatedQmail/exchanger``.
  public private(set) var exchanger = TrafficExchanger()

  /// Makes the mail of one scenario.
  ///
  /// - Parameters:
  ///   - messages: how many (for a newsletter: recipients of the one message).
  ///   - perSecond: the mean rate; arrivals are at random distances.
  ///   - start: the first message comes about then.
  public init(
    _ scenario: Scenario, messages: Int, perSecond: Double, start: Duration = .zero,
    seed: UInt64 = 1
  ) {}

  /// Both, in the order of time.
  public static func + (a: Traffic, b: Traffic) -> Traffic { a }
}

/// Answers as the traffic's author laid down for each recipient; any other recipient is accepted.
public struct TrafficExchanger: Exchanger, Sendable {
  public mutating func answer(to attempt: DeliveryAttempt) -> DeliveryAnswer {
    DeliveryAnswer(.success, to: attempt)
  }
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, fast, and the same on every machine.
public struct SplitMix64: RandomNumberGenerator, Sendable {
  private var state: UInt64

  public init(seed: UInt64) { state = seed }

  public mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
