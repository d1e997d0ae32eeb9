import Mail
import QmailSimulator

/// The mail of one period: ordinary, innocent floods, and storms of every kind in turn.
struct Weather {
  struct Storm {
    /// Seconds since the soak began.
    var begins: Double
    var scenario: Traffic.Scenario
  }

  private static let storms: [Traffic.Scenario] = [
    .hijackedAccount, .backscatter, .webScript, .acceptThenBounce, .randomSenders,
  ]
  private static let innocents: [(Traffic.Scenario, Int, Double)] = [
    (.mailmanBurst, 120, 10), (.newsletter, 100, 1), (.providerOutage, 50, 0.5),
  ]

  let arrivals: [Traffic.Arrival]
  let exchangers: [TrafficExchanger]
  let storms: [Storm]

  /// - Parameters:
  ///   - number: which period, from 0.
  ///   - length: of a period, in seconds.
  ///   - ordinary: messages of ordinary mail in it.
  init(_ number: Int, length: Double, ordinary: Int, storms count: Int, seed: UInt64) {
    let begin = Double(number) * length
    let seed = seed &* 1000 &+ UInt64(number) &* 10
    var parts = [
      Traffic(
        .ordinary, messages: ordinary, perSecond: Double(ordinary) / length, start: .seconds(begin),
        seed: seed)
    ]
    var storms: [Storm] = []
    for place in 0..<count {
      let scenario = Self.storms[(number * count + place) % Self.storms.count]
      let start = begin + length * (0.25 + 0.45 * Double(place) / Double(count))
      let messages = 120 + Int((seed / 10 + UInt64(place)) % 4) * 60
      parts.append(
        Traffic(
          scenario, messages: messages, perSecond: 6 + Double((number + place) % 3) * 10,
          start: .seconds(start), seed: seed + 1 + UInt64(place)))
      storms.append(Storm(begins: start, scenario: scenario))
    }
    let (scenario, messages, rate) = Self.innocents[number % Self.innocents.count]
    parts.append(
      Traffic(
        scenario, messages: messages, perSecond: rate, start: .seconds(begin + length * 0.1),
        seed: seed + 9))
    arrivals = parts.flatMap(\.arrivals).sorted { $0.after < $1.after }
    exchangers = parts.map(\.exchanger)
    self.storms = storms
  }
}

/// Answers as the traffic says, and at once: a delivery that is under way while qwarden marks shows in `/proc` on a real qmail, and not here.
struct PromptExchanger: Exchanger {
  var traffic = TrafficExchanger()

  func answer(to attempt: DeliveryAttempt) -> DeliveryAnswer {
    var answer = traffic.answer(to: attempt)
    answer.after = .zero
    return answer
  }
}
