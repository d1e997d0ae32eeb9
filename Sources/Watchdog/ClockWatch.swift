import Files

/// Notices that the clock was set.
struct ClockWatch {
  /// As it was last found.
  private(set) var reading: ClockReading

  /// - Parameter known: as the ledger has it: the clock may have been set while no daemon ran.
  init(since known: ClockReading?) {
    let now = WallClock.reading()
    reading = known.flatMap { now.boot == $0.boot ? $0 : nil } ?? now
  }

  /// By how much it was set since the last call; nil when it was not.
  mutating func shift() -> Duration? {
    let now = WallClock.reading(boot: reading.boot)
    guard let shift = now.shift(since: reading) else { return nil }
    reading = now
    return shift
  }
}
