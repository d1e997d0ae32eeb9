import Foundation

/// One figure: ours, beside what it is compared with.
struct Result: Codable {
  var name: String
  /// Messages in the queue.
  var size: Int
  var isCold = false
  /// Seconds, or bytes a message.
  var ours: Double
  var unit = "s"
  /// What it is compared with; nil when it is measured alone.
  var other: String?
  /// nil when that is missing on this machine.
  var theirs: Double?
  /// Median of ours by theirs, run by run.
  var ratio: Double?

  /// As thresholds name it.
  var key: String { "\(name)\(other.map { " : \($0)" } ?? "")\(isCold ? ", cold" : "")" }

  var row: String {
    func text(_ value: Double?) -> String {
      guard let value else { return "missing" }
      return unit == "s"
        ? String(format: "%.2f ms", value * 1000) : String(format: "%.1f %@", value, unit)
    }
    func pad(_ text: String, _ width: Int) -> String {
      text + String(repeating: " ", count: max(0, width - text.count))
    }
    return pad(key, 54) + pad("\(size)", 9) + pad(text(ours), 14)
      + pad(other == nil ? "" : text(theirs), 14)
      + (ratio.map { String(format: "%.3f", $0) } ?? "")
  }

  static let heading =
    "benchmark                                             messages ours          other         ratio"
}

/// A bound recorded in the repository.
struct Threshold: Codable {
  var benchmark: String
  /// Only at this size.
  var messages: Int
  /// Bounds of the ratio, or of our own figure in the result's unit.
  var ratio: Double?
  var ours: Double?

  enum Verdict {
    case held
    case broken(String)
    /// What it is compared with is missing on this machine, or caches could not be dropped.
    case notMeasured
  }

  /// A bound that no result bears is broken too: a benchmark that was renamed must not go unnoticed.
  func verdict(_ results: [Result]) -> Verdict {
    let place = "\(benchmark) at \(messages)"
    guard let result = results.first(where: { $0.key == benchmark && $0.size == messages }) else {
      if benchmark.hasSuffix(", cold"), !results.contains(where: \.isCold) { return .notMeasured }
      return .broken("\(place): no such result")
    }
    if result.other != nil, result.theirs == nil { return .notMeasured }
    if let ratio {
      guard let found = result.ratio else { return .broken("\(place): it has no ratio") }
      if found > ratio {
        return .broken(String(format: "%@: ratio %.3f, allowed %.3f", place, found, ratio))
      }
    }
    if let ours, result.ours > ours {
      return .broken(
        String(format: "%@: %.6f %@, allowed %.6f", place, result.ours, result.unit, ours))
    }
    return .held
  }
}
