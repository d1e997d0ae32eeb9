import Mail

/// Answers as the traffic's author laid down for each recipient and domain. A local recipient that the author has not named does not
/// exist; any other remote one is accepted.
public struct TrafficExchanger: Exchanger, Sendable {
  enum Fate: Hashable, Sendable {
    case accept
    case reject
    /// Deferred while the message is younger than this many seconds; then accepted.
    case later(Double)
    case deferred
  }

  var fates: [Address: Fate] = [:]
  var domainFates: [Domain: Fate] = [:]

  private let isPrompt: Bool

  /// Nobody is known.
  /// - Parameter isPrompt: deliveries take no time. One that is under way while qwarden marks shows in `/proc` on a real qmail, and not here.
  public init(isPrompt: Bool = false) { self.isPrompt = isPrompt }

  /// Knows from now on what the other knows; where they disagree the other is right, except that nobody is accepted whom this one defers or
  /// rejects.
  public mutating func merge(_ other: TrafficExchanger) {
    fates.merge(other.fates) { $1 == .accept ? $0 : $1 }
    domainFates.merge(other.domainFates) { $1 }
  }

  public func answer(to attempt: DeliveryAttempt) -> DeliveryAnswer {
    let usual = attempt.channel == .local ? Fate.reject : .accept
    let fate =
      fates[attempt.recipient] ?? domainFates[attempt.recipient.domain] ?? usual
    let outcome: SendLogLine.Outcome =
      switch fate {
      case .accept: .success
      case .reject: .failure
      case .later(let age): attempt.age < age ? .deferral : .success
      case .deferred: .deferral
      }
    if isPrompt { return DeliveryAnswer(outcome, to: attempt) }
    // Local deliveries take 3 to 9 ms and remote ones 10 to 250, the same for the same recipient each time.
    let hash = attempt.recipient.bytes.reduce(UInt64(14_695_981_039_346_656_037)) {
      ($0 ^ UInt64($1)) &* 1_099_511_628_211
    }
    let time = attempt.channel == .local ? 3 + hash % 7 : 10 + hash % 241
    return DeliveryAnswer(outcome, to: attempt, after: .milliseconds(Int64(time)))
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
