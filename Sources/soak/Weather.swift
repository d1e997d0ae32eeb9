import Mail
import QmailSimulator

/// The mail of one period: ordinary, innocent floods, and storms of every kind in turn.
struct Weather {
  struct Arrival {
    /// Seconds since the soak began.
    var at: Double
    var injection: SimulatedInjection
  }

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

  let arrivals: [Arrival]
  let exchangers: [TrafficExchanger]
  let storms: [Storm]

  /// - Parameters:
  ///   - number: which period, from 0.
  ///   - length: of a period, in seconds.
  ///   - ordinary: messages of ordinary mail in it.
  ///   - strangers: messages of people who write never again, so that all that the daemon remembers so many of is full early.
  init(
    _ number: Int, length: Double, ordinary: Int, strangers: Int, storms count: Int, seed: UInt64
  ) {
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
    arrivals =
      (parts.flatMap(\.arrivals).map { Arrival(at: $0.after.inSeconds, injection: $0.injection) }
      + (0..<strangers).map { place in
        let share = 0.02 + 0.9 * Double(place) / Double(strangers)
        return Arrival(at: begin + share * length, injection: Self.stranger(place))
      }).sorted { $0.at < $1.at }
    exchangers = parts.map(\.exchanger)
    self.storms = storms
  }
}

extension Weather {
  private static func stranger(_ place: Int) -> SimulatedInjection {
    let number = place % 6000
    return SimulatedInjection(
      sender: Address("s\(number)@d\(number).example"),
      recipients: [Address("user\(number % 40 + 1)@mx.test")],
      source: .network(
        client: "100.\(64 + number / 250).\(number % 250).7", helo: "mail", user: nil),
      message: Array(
        "From: s\(number)@d\(number).example\nMessage-ID: <s\(place)@d.example>\n\nhello\n".utf8))
  }
}
