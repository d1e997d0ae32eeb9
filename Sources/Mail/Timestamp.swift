/// A moment as whole nanoseconds since 1970 UTC.
///
/// Time is a value here: detection, planning and tests are handed timestamps and never read a clock.
/// Nanoseconds because a queue entry is identified by its number and the exact mtime of `info/ID`.
public struct Timestamp: Hashable, Comparable, Sendable {
  public var nanoseconds: Int64

  public init(nanoseconds: Int64) { self.nanoseconds = nanoseconds }

  /// As stat(2) has it; what is out of range saturates.
  public init(seconds: Int, nanoseconds: Int) {
    let (whole, overflow) = Int64(seconds).multipliedReportingOverflow(by: 1_000_000_000)
    self.nanoseconds =
      overflow ? (seconds > 0 ? .max : .min) : whole.saturatingAdd(Int64(nanoseconds))
  }

  /// - Parameter seconds: unix time; out-of-range values saturate.
  public init(seconds: Double) {
    let scaled = (seconds * 1e9).rounded()
    nanoseconds =
      scaled.isNaN ? 0 : scaled >= 9.2e18 ? .max : scaled <= -9.2e18 ? .min : Int64(scaled)
  }

  /// Unix time in seconds.
  public var seconds: Double { Double(nanoseconds) / 1e9 }

  /// Seconds from `earlier` to this moment, negative if `earlier` is later.
  public func seconds(since earlier: Timestamp) -> Double {
    let (span, overflow) = nanoseconds.subtractingReportingOverflow(earlier.nanoseconds)
    return Double(overflow ? (self > earlier ? .max : .min) : span) / 1e9
  }

  public static func < (a: Timestamp, b: Timestamp) -> Bool { a.nanoseconds < b.nanoseconds }

  public static func + (time: Timestamp, duration: Duration) -> Timestamp {
    Timestamp(nanoseconds: time.nanoseconds.saturatingAdd(duration.wholeNanoseconds))
  }

  public static func - (time: Timestamp, duration: Duration) -> Timestamp {
    Timestamp(nanoseconds: time.nanoseconds.saturatingAdd(-duration.wholeNanoseconds))
  }
}

extension Int64 {
  fileprivate func saturatingAdd(_ other: Int64) -> Int64 {
    let (sum, overflow) = addingReportingOverflow(other)
    return overflow ? (other > 0 ? .max : .min) : sum
  }
}

extension Duration {
  /// The duration in whole nanoseconds, saturating at about ±292 years.
  public var wholeNanoseconds: Int64 {
    let (seconds, attoseconds) = components
    let (scaled, overflow) = seconds.multipliedReportingOverflow(by: 1_000_000_000)
    if overflow { return seconds > 0 ? .max : -.max }
    return scaled.saturatingAdd(attoseconds / 1_000_000_000)
  }

  /// The duration in seconds.
  public var inSeconds: Double { Double(wholeNanoseconds) / 1e9 }
}

extension Timestamp {
  /// The UTC calendar fields of this moment (proleptic Gregorian).
  public var calendar:
    (year: Int, month: Int, day: Int, hour: Int, minute: Int, second: Int, weekday: Int)
  {
    let total = Int(nanoseconds >= 0 ? nanoseconds : nanoseconds &- 999_999_999) / 1_000_000_000
    let days = total >= 0 ? total / 86_400 : (total - 86_399) / 86_400
    let rest = total - days * 86_400
    // Howard Hinnant's civil_from_days.
    let z = days + 719_468
    let era = (z >= 0 ? z : z - 146_096) / 146_097
    let doe = z - era * 146_097
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100)
    let mp = (5 * doy + 2) / 153
    let month = mp < 10 ? mp + 3 : mp - 9
    let year = yoe + era * 400 + (month <= 2 ? 1 : 0)
    let weekday = ((days % 7) + 11) % 7
    return (
      year, month, doy - (153 * mp + 2) / 5 + 1, rest / 3600, rest % 3600 / 60, rest % 60, weekday
    )
  }

  /// `2026-11-23T17:22:22Z`, seconds precision.
  public var iso8601: String {
    let c = calendar
    return
      "\(c.year)-\(two(c.month))-\(two(c.day))T\(two(c.hour)):\(two(c.minute)):\(two(c.second))Z"
  }

  /// `23 Nov 2026 17:22:22 GMT`, as qmail-qread prints a birth.
  public var qreadDate: String {
    let c = calendar
    let months = [
      "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ]
    return
      "\(c.day) \(months[c.month - 1]) \(c.year) \(two(c.hour)):\(two(c.minute)):\(two(c.second)) GMT"
  }
}

private func two(_ n: Int) -> String { n < 10 ? "0\(n)" : String(n) }
