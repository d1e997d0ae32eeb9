import Mail

/// How far the time of day is ahead of the time since boot, which nobody sets and which runs on while the machine sleeps: the same at any
/// time, until somebody sets the clock.
public struct ClockReading: Hashable, Sendable {
  /// What NTP corrects by slewing, and a reading that was interrupted in its middle, stay far below.
  static let tolerance = 30.0

  /// The run of the machine.
  public var boot: String
  /// Nanoseconds.
  public var ahead: Int64

  public init(boot: String, ahead: Int64) {
    self.boot = boot
    self.ahead = ahead
  }

  /// By how much the clock was set since `earlier`; nil: it was not, or the other is of another run of the machine, and nothing can be known.
  public func shift(since earlier: ClockReading) -> Duration? {
    guard boot == earlier.boot else { return nil }
    let shift = Duration.nanoseconds(ahead &- earlier.ahead)
    return abs(shift.inSeconds) > Self.tolerance ? shift : nil
  }
}
