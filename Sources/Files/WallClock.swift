import Glibc
import Mail

/// The one place that reads the clock. Only the Watchdog and the commands ask it; what detects and plans is handed timestamps.
public enum WallClock {
  /// The time of day, as it is set.
  public static func now() -> Timestamp {
    var time = timespec()
    clock_gettime(CLOCK_REALTIME, &time)
    return Timestamp(
      nanoseconds: Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec))
  }

  /// Nanoseconds of a clock that nobody sets and that runs on while the machine sleeps.
  public static func sinceBoot() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_BOOTTIME, &time)
    return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }

  /// Names this run of the machine (`/proc/sys/kernel/random/boot_id`); empty where that cannot be read.
  public static func bootID() -> String {
    guard let file = try? Descriptor.open("/proc/sys/kernel/random/boot_id"),
      let bytes = try? file.read(limit: 64)
    else { return "" }
    return String(decoding: bytes.prefix { $0 > 32 }, as: UTF8.self)
  }

  /// How the clocks stand to each other now.
  /// - Parameter boot: the run of the machine, where it is known already.
  public static func reading(boot: String = bootID()) -> ClockReading {
    // Without a name for the run of the machine, what another process has read says nothing.
    ClockReading(
      boot: boot.isEmpty ? "process \(getpid())" : boot,
      ahead: now().nanoseconds &- sinceBoot())
  }

  /// Nanoseconds of a clock that never jumps, for measuring how long something took.
  public static func monotonic() -> Int64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return Int64(time.tv_sec) &* 1_000_000_000 &+ Int64(time.tv_nsec)
  }
}
