import Files

/// A figure that takes long to count where there is much: it is counted anew when so much time has gone by that counting takes a hundredth of
/// it at most. One that is counted in less than a millisecond is always today's.
public struct PacedFigure<Value> {
  private var known: (value: Value, until: Int64)?
  /// The latest answer was an earlier one.
  public private(set) var isStale = false
  private static var cheap: Int64 { 1_000_000 }

  public init() {}

  /// - Parameters:
  ///   - now: of the monotonic clock, in nanoseconds; asked again when the figure was counted.
  public mutating func value(
    now: () -> Int64 = WallClock.monotonic, _ count: () throws(LedgerError) -> Value
  ) throws(LedgerError) -> Value {
    let begun = now()
    if let known, begun < known.until {
      isStale = true
      return known.value
    }
    let value = try count()
    isStale = false
    let cost = now() - begun
    known = (value, cost < Self.cheap ? begun : begun + 100 * cost)
    return value
  }

  /// What was done since it was counted.
  public mutating func change(_ body: (inout Value) -> Void) {
    if var known {
      body(&known.value)
      self.known = known
    }
  }
}
