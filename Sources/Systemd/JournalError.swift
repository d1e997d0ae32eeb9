import Glibc

/// Why an entry did not reach the journal.
public enum JournalError: Error, Sendable, Hashable, CustomStringConvertible {
  /// No journald listens here: a container, another init, or systemd-journald is down.
  case noJournal(socket: String)
  /// Sending failed; an `errno` value. `EAGAIN`: systemd-journald does not read.
  case failed(code: Int32)

  public var description: String {
    switch self {
    case .noJournal(let socket):
      "\(socket): no journal listens there; start systemd-journald or read qwarden's standard error"
    case .failed(EAGAIN):
      "systemd-journald does not read what it is sent; look at 'systemctl status systemd-journald'"
    case .failed(let code):
      "cannot write to the journal: \(String(cString: strerror(code)))"
    }
  }
}
