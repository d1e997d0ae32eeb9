import Files
import Mail

/// qmail's `control/` directory, read the way qmail-send and qmail-smtpd read it (qmail-control(5), control.c).
public struct ControlDirectory: Sendable {
  /// `QMAIL/control`.
  public let path: String

  /// - Parameter qmail: qmail's home, usually `/var/qmail`.
  public init(qmail: String) { path = "\(qmail)/control" }

  /// Reads the files anew.
  /// - Throws: when `me` is missing (no qmail program starts without it), or a file is there and cannot be read.
  public func read() throws(ControlError) -> ControlSnapshot {
    throw ControlError(path, "not read", exitCode: 69)
  }
}
