/// Wald's sequential probability ratio test on permanent failures: ordinary mail against a storm.
///
/// The log-likelihood ratio is kept from falling below a small floor, so that a good past does not hide a sudden turn (as Page's
/// cumulative sum does).
struct SequentialTest: Sendable, Hashable {
  private(set) var ratio = 0.0
  let perFailure: Double
  private let perSuccess: Double
  let bound: Double
  private static let floor = -3.0
  private static let missProbability = 0.05

  init(_ settings: DetectorSettings) {
    let ordinary = min(max(settings.ordinaryFailureShare, 0.001), 0.998)
    let storm = min(max(settings.stormFailureShare, ordinary + 0.001), 0.999)
    let alpha = min(max(settings.falseAlarm, 1e-12), 0.5)
    let ln2 = 0.693_147_180_559_945
    perFailure = log2Approximation(storm / ordinary) * ln2
    perSuccess = log2Approximation((1 - storm) / (1 - ordinary)) * ln2
    bound = log2Approximation((1 - Self.missProbability) / alpha) * ln2
  }

  /// The test has decided for "storm".
  var isProven: Bool { ratio >= bound }

  /// Counts outcomes; negative numbers take back what turned out otherwise.
  mutating func add(failed: Int, delivered: Int) {
    let step = Double(failed) * perFailure + Double(delivered) * perSuccess
    // Beyond twice the bound more failures say nothing new, and would only take long to live down.
    ratio = min(max(ratio + step, Self.floor), 2 * bound)
  }

  mutating func restart() { ratio = 0 }
}
