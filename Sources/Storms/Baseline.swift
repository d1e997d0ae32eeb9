import Mail

/// What a group usually sends: the busiest window of each of its last active hours, as a median and its spread (MAD) of logarithms.
///
/// Robust: a few wild hours move neither. Hours in which the group was in a storm or failed badly are not learned, so that a
/// storm does not become normal. Under three known hours there is no normal yet.
struct Baseline: Sendable {
  private static let hoursKept = 168
  private static let hoursNeeded = 3
  /// 16 · log2(1 + messages), at most 255: 62,000 messages.
  private var hours: [UInt8] = []
  private var next = 0
  private var hour = Int64.min
  private var peak: Int32 = 0
  private var isTainted = false
  private var cached: (normal: Double, limit: Double)?

  /// Tells how much stands in the window now.
  mutating func note(_ messages: Int32, at time: Timestamp) {
    let current = time.nanoseconds / 3_600_000_000_000
    if current != hour {
      if hour != .min && peak > 0 && !isTainted { learn(peak) }
      (hour, peak, isTainted) = (current, 0, false)
    }
    peak = max(peak, messages)
  }

  /// This hour is not to be learned.
  mutating func taint() { isTainted = true }

  private mutating func learn(_ messages: Int32) {
    let level = UInt8(min(255, 16 * log2Approximation(1 + Double(messages))))
    if hours.count < Self.hoursKept {
      hours.append(level)
    } else {
      hours[next] = level
      next = (next + 1) % Self.hoursKept
    }
    cached = nil
    guard hours.count >= Self.hoursNeeded else { return }
    let median = Self.median(hours.sorted())
    let spread = Self.median(hours.map { abs(Double($0) - median) }.sorted())
    // 1.4826 MAD is one standard deviation of a normal distribution; half a doubling at least.
    let deviation = max(8, 1.4826 * spread)
    cached = (
      exp2Approximation(median / 16) - 1, exp2Approximation((median + 3 * deviation) / 16) - 1
    )
  }

  private static func median(_ sorted: [some BinaryInteger]) -> Double {
    median(sorted.map { Double($0) })
  }
  private static func median(_ sorted: [Double]) -> Double {
    let middle = sorted.count / 2
    return sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
  }

  /// Messages in a usual window; nil while too little is known.
  var normal: Double? { cached?.normal }
  /// Three deviations over that.
  var limit: Double? { cached?.limit }
}
