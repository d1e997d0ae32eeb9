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
  private struct Standing {
    var failure: Outcome.Failure
    /// Of one message, and not of the whole piece of work.
    var isPart: Bool
  }
  private var failures: [String: Standing] = [:]
  private var partsFailed = false

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
  mutating func failed(_ failure: Outcome.Failure, isPart: Bool) -> Bool {
    let key = "\(failure.action) \(failure.value)"
    if isPart { partsFailed = true }
    if failures[key]?.failure.why == failure.why { return false }
    if failures.count >= Self.limit { failures = [:] }
    failures[key] = Standing(failure: failure, isPart: isPart)
    return true
  }

  mutating func succeeded(_ action: String, _ value: String) {
    failures["\(action) \(value)"] = nil
  }

  /// To be called around a piece of work: where no single message failed in it, those that did before are forgotten.
  mutating func beginParts() { partsFailed = false }
  mutating func endParts() {
    if !partsFailed, failures.values.contains(where: \.isPart) {
      failures = failures.filter { !$0.value.isPart }
    }
  }

  /// What fails at the moment.
  var standing: [Outcome.Failure] { failures.values.map(\.failure) }
}
