import Mail

/// Remembers what has been told, so that a poll every second does not tell it every second. Bounded: when full it forgets, and things
/// are told again.
struct ToldOnce {
  private struct Held: Hashable {
    var incident: Int
    var action: String
    var value: [UInt8]
    var by: Guard
  }

  private static let limit = 10_000
  private var held: [Held: String] = [:]
  private var failures: [String: String] = [:]

  /// - Returns: whether it is new, and the words it was first told in (figures in them change; the history counts one row).
  mutating func held(_ action: PlannedAction, by: Guard, why: String) -> (Bool, first: String) {
    var value: [UInt8] = []
    if case .block(let entry, _) = action.action { value = entry.bytes }
    let key = Held(incident: action.incident, action: action.action.name, value: value, by: by)
    if let first = held[key] { return (false, first) }
    if held.count >= Self.limit { held = [:] }
    held[key] = why
    return (true, why)
  }

  /// - Returns: whether this failure is new or has changed.
  mutating func failed(_ failure: Outcome.Failure) -> Bool {
    let key = "\(failure.action) \(failure.value)"
    if failures[key] == failure.why { return false }
    if failures.count >= Self.limit { failures = [:] }
    failures[key] = failure.why
    return true
  }

  mutating func succeeded(_ action: String, _ value: String) {
    failures["\(action) \(value)"] = nil
  }
}
