import Files
import Mail

/// Notices that the clock was set: the time of day has gone another way than the time since boot, which nobody sets and which runs on while
/// the machine sleeps.
struct ClockWatch {
  /// What NTP corrects by slewing, and a look that was interrupted in the middle, stay far below.
  static let tolerance = 30.0

  private var wall = WallClock.now()
  private var boot = WallClock.sinceBoot()

  /// By how much it was set since the last call; nil when it was not.
  mutating func shift() -> Duration? {
    let now = (wall: WallClock.now(), boot: WallClock.sinceBoot())
    let passed = now.boot - boot
    let shift = now.wall.nanoseconds &- wall.nanoseconds &- passed
    (wall, boot) = now
    return abs(Double(shift) / 1e9) < Self.tolerance ? nil : .nanoseconds(shift)
  }
}
