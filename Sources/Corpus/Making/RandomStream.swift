import Glibc
import QmailSimulator

/// Mail at random distances (a Poisson process) of a rate that may change with time, or at regular ones.
struct RandomStream: MailStream {
  typealias Make = @Sendable (_ dice: inout Dice, _ number: Int, _ at: Double) -> MadeMessage

  private var dice: Dice
  private var time: Double
  private var number = 0
  private let end: Double
  private let limit: Int
  private let period: Double?
  private let rate: @Sendable (Double) -> Double
  private let make: Make

  /// - Parameter rate: messages a second at this time; 0 for a pause.
  init(
    seed: UInt64, from: Double = 0, to: Double = .infinity, limit: Int = .max,
    rate: @escaping @Sendable (Double) -> Double, make: @escaping Make
  ) {
    dice = Dice(seed)
    (time, end, period) = (from, to, nil)
    (self.limit, self.rate, self.make) = (limit, rate, make)
  }

  init(
    seed: UInt64, from: Double, to: Double = .infinity, every period: Double,
    make: @escaping Make
  ) {
    dice = Dice(seed)
    (time, end, self.period) = (from - period, to, period)
    (limit, rate, self.make) = (.max, { _ in 1 }, make)
  }

  mutating func next() -> (at: Double, message: MadeMessage)? {
    guard number < limit, let at = nextTime(), at <= end else { return nil }
    defer { number += 1 }
    return (at, make(&dice, number, at))
  }

  private mutating func nextTime() -> Double? {
    if let period {
      time += period
      return time
    }
    // A rate that changes is followed in steps of a minute.
    while time <= end {
      let now = rate(time)
      let step = now > 0 ? -log(1 - dice.chance()) / now : .infinity
      let border = (time / 60).rounded(.down) * 60 + 60
      if time + step < border {
        time += step
        return time
      }
      time = border
    }
    return nil
  }
}

/// Chance with a seed.
struct Dice: Sendable {
  private var random: SplitMix64
  init(_ seed: UInt64) { random = SplitMix64(seed: seed &* 0x9E37_79B9 &+ 0x5bd1) }
  /// 0 ..< 1.
  mutating func chance() -> Double { Double.random(in: 0..<1, using: &random) }
  mutating func below(_ n: Int) -> Int { Int.random(in: 0..<max(1, n), using: &random) }
  mutating func pick<T>(_ from: [T]) -> T { from[below(from.count)] }
}
