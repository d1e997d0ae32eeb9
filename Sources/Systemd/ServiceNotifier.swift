import CSystemd
import Glibc

/// Tells systemd how the service is (sd_notify(3)): one datagram a call.
///
/// No call throws or ends the daemon's loop: the outcome is a value to be looked at or dropped. Where systemd did not start
/// the process every call does nothing.
public struct ServiceNotifier: Sendable {
  public enum Outcome: Sendable, Hashable {
    case sent
    /// `NOTIFY_SOCKET` is not set: nobody listens.
    case notSupervised
    /// An `errno` value.
    case failed(code: Int32)
  }

  /// How long systemd waits for `keepAlive` before it kills and restarts the service; nil when it does not watch this
  /// process (`WATCHDOG_USEC` unset, or `WATCHDOG_PID` of another process). Ping at half of it or faster.
  public let watchdogInterval: Duration?

  /// Reads the environment that systemd gave.
  public init() {
    var microseconds: UInt64 = 0
    watchdogInterval =
      sd_watchdog_enabled(0, &microseconds) > 0 && microseconds <= UInt64(Int64.max)
      ? .microseconds(Int64(microseconds)) : nil
  }

  /// Startup, or a reload, is complete.
  @discardableResult public func ready(status: String? = nil) -> Outcome {
    send(["READY=1"], status)
  }

  /// The line that `systemctl status` shows.
  @discardableResult public func status(_ text: String) -> Outcome {
    send([], text)
  }

  /// A reload begins; `ready` must follow. Sends the monotonic time too, which `Type=notify-reload` (systemd 253) wants.
  @discardableResult public func reloading(status: String? = nil) -> Outcome {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    return send(
      ["RELOADING=1", "MONOTONIC_USEC=\(now.tv_sec * 1_000_000 + now.tv_nsec / 1000)"], status)
  }

  /// The service shuts down of its own will.
  @discardableResult public func stopping(status: String? = nil) -> Outcome {
    send(["STOPPING=1"], status)
  }

  /// Resets the watchdog's timer. Call it from the loop that does the work, so that a hung loop is restarted.
  @discardableResult public func keepAlive(status: String? = nil) -> Outcome {
    send(["WATCHDOG=1"], status)
  }

  private func send(_ assignments: [String], _ status: String?) -> Outcome {
    var lines = assignments
    if let status {
      // A line end would start another assignment: a hostile name in a status must not say STOPPING=1.
      lines.append(
        "STATUS=" + String(decoding: SingleLine.make(status).prefix(1024), as: UTF8.self))
    }
    let result = sd_notify(0, lines.joined(separator: "\n"))
    return result > 0 ? .sent : result == 0 ? .notSupervised : .failed(code: -result)
  }
}
