/// A bounded memory of what was lately of use: two generations; when the younger is full the older is forgotten.
///
/// Its memory is taken at once, so that a storm does not make the program larger.
struct TwoGenerations<Value: Sendable>: Sendable {
  private var young: [UInt64: Value]
  private var old: [UInt64: Value]
  /// Keys of one generation.
  private let limit: Int

  init(of limit: Int) {
    self.limit = limit
    young = Dictionary(minimumCapacity: limit)
    old = Dictionary(minimumCapacity: limit)
  }

  subscript(key: UInt64) -> Value? { young[key] ?? old[key] }

  /// Changes what is kept of a key, which is in the younger generation from now on.
  @discardableResult
  mutating func update<R>(
    _ key: UInt64, default fresh: @autoclosure () -> Value, _ change: (inout Value) -> R
  ) -> R {
    if young.count >= limit, young[key] == nil {
      swap(&young, &old)
      let known = young[key]
      young.removeAll(keepingCapacity: true)
      young[key] = known
    }
    return change(&young[key, default: old[key] ?? fresh()])
  }

  mutating func mapValues(_ change: (Value) -> Value) {
    young = young.mapValues(change)
    old = old.mapValues(change)
  }
}
