import Glibc

/// Tells systemd how the service is, by the protocol of sd_notify(3): one datagram a call.
///
/// Nothing here throws, blocks or ends the daemon's loop: the outcome is a value to be looked at or dropped. Where systemd
/// did not start the process every call does nothing. The datagram is sent from here and not by `sd_notify`, which waits
/// without limit when the service manager does not read.
public struct ServiceNotifier: Sendable {
  public enum Outcome: Sendable, Hashable {
    case sent
    /// `NOTIFY_SOCKET` is not set: nobody listens.
    case notSupervised
    /// An `errno` value; `EAGAIN` when the service manager does not read.
    case failed(code: Int32)
  }

  /// How long systemd waits for `keepAlive` before it kills and restarts the service; nil when it does not watch this
  /// process (`WATCHDOG_USEC` unset, or `WATCHDOG_PID` of another process). Ping at half of it or faster.
  public let watchdogInterval: Duration?
  /// A path, or `@` and an abstract name.
  private let socketName: String?
  /// Opened once: a process that has no descriptor left must still be able to say that it lives.
  private let socket: Datagram.Socket?

  /// Reads the environment that systemd gave.
  public init() {
    self.init { name in getenv(name).map { String(cString: $0) } }
  }

  init(environment: (String) -> String?) {
    socketName = environment("NOTIFY_SOCKET").flatMap { $0.isEmpty ? nil : $0 }
    socket = socketName == nil ? nil : Datagram.Socket()
    let watched = environment("WATCHDOG_PID").map { $0 == String(getpid()) } ?? true
    let microseconds = environment("WATCHDOG_USEC").flatMap { Int64($0) } ?? 0
    watchdogInterval = watched && microseconds > 0 ? .microseconds(microseconds) : nil
  }

  /// Startup, or a reload, is complete.
  @discardableResult public func ready(status: String? = nil) -> Outcome {
    send(["READY=1"], status)
  }

  /// A reload begins; `ready` must follow. Sends the monotonic time too, which `Type=notify-reload` (systemd 253) wants.
  @discardableResult public func reloading(status: String? = nil) -> Outcome {
    var now = timespec()
    clock_gettime(CLOCK_MONOTONIC, &now)
    let microseconds = now.tv_sec * 1_000_000 + now.tv_nsec / 1000
    return send(["RELOADING=1", "MONOTONIC_USEC=\(microseconds)"], status)
  }

  /// The service shuts down of its own will.
  @discardableResult public func stopping(status: String? = nil) -> Outcome {
    send(["STOPPING=1"], status)
  }

  /// Resets the watchdog's timer. Call it from the loop that does the work, so that a hung loop is restarted.
  /// - Parameter isStarting: `ready` is still to come; systemd then waits a minute more for it.
  @discardableResult public func keepAlive(status: String? = nil, isStarting: Bool = false)
    -> Outcome
  {
    send(["WATCHDOG=1"] + (isStarting ? ["EXTEND_TIMEOUT_USEC=60000000"] : []), status)
  }

  /// Bytes; a longer status is cut. It is one line on a terminal.
  static let statusLimit = 1024

  private func send(_ assignments: [String], _ status: String?) -> Outcome {
    guard let socketName, let socket else { return .notSupervised }
    var lines = assignments
    if let status {
      // A line end would start another assignment: a hostile name in a status must not say STOPPING=1. Decoding
      // repairs a character that the cut split, since systemd drops a status that is not UTF-8.
      let bytes = SingleLine.make(status).prefix(Self.statusLimit)
      lines.append("STATUS=" + String(decoding: bytes, as: UTF8.self))
    }
    let code = socket.send(Array(lines.joined(separator: "\n").utf8), to: socketName)
    return code == 0 ? .sent : .failed(code: code)
  }
}
