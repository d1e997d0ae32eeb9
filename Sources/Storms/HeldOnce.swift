/// Makes equal values share their storage: what most messages of a flood have in common is in memory once.
///
/// Bounded: forgets what it holds at 1,024 values. That costs sharing only.
struct HeldOnce<Value: Hashable & Sendable>: Sendable {
  private var held: Set<Value> = []
  private static var limit: Int { 1024 }

  mutating func callAsFunction(_ value: Value) -> Value {
    if held.count >= Self.limit { held.removeAll(keepingCapacity: true) }
    return held.insert(value).memberAfterInsert
  }
}
