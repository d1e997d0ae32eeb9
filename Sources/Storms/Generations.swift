/// What was noted lately under a key, in memory that is taken at the start: two generations of 12,288 keys, of which the older is forgotten
/// as a whole when the younger is full.
///
/// Keys are hashes.
struct Generations<Value: Sendable>: Sendable {
  /// What a Dictionary of 16,384 places holds before it grows.
  static var limit: Int { 12_288 }

  private var young: [UInt64: Value] = [:]
  private var old: [UInt64: Value] = [:]

  /// - Parameter value: any; nothing is kept of it.
  init(like value: Value) {
    take(&young, value)
    take(&old, value)
  }

  /// Places in memory, whether used or not.
  var places: Int { young.capacity + old.capacity }

  subscript(key: UInt64) -> Value? { young[key] ?? old[key] }

  /// Changes what is noted under a key, which is of the younger generation from then on.
  @discardableResult
  mutating func update<R>(
    _ key: UInt64, default new: @autoclosure () -> Value, _ change: (inout Value) -> R
  ) -> R {
    if young.count >= Self.limit, young[key] == nil {
      // What is known of the key is moved, and not forgotten with its generation.
      let known = old[key]
      swap(&young, &old)
      young.removeAll(keepingCapacity: true)
      young[key] = known
    }
    return change(&young[key, default: old[key] ?? new()])
  }

  /// All values changed; the memory stays.
  mutating func change(_ body: (inout Value) -> Void) {
    for place in young.values.indices { body(&young.values[place]) }
    for place in old.values.indices { body(&old.values[place]) }
  }

  /// Memory is a program's once it is written to: a key in eight comes by every page of it.
  private func take(_ table: inout [UInt64: Value], _ value: Value) {
    table.reserveCapacity(Self.limit)
    for key in 0..<UInt64(Self.limit / 8) { table[key] = value }
    table.removeAll(keepingCapacity: true)
  }
}
