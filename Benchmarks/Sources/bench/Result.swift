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

  /// What is wrong with the results by this bound; nil when all is well or nothing was measured.
  func complaint(_ results: [Result]) -> String? {
    for result in results where result.key == benchmark && result.size == messages {
      if let ratio, let found = result.ratio, found > ratio {
        return String(
          format: "%@ at %d: ratio %.3f, allowed %.3f", benchmark, messages, found, ratio)
      }
      if let ours, result.ours > ours {
        return String(
          format: "%@ at %d: %.6f %@, allowed %.6f", benchmark, messages, result.ours, result.unit,
          ours)
      }
    }
    return nil
  }
}
