import Files
import Glibc
import Mail

/// Why badmailfrom was not touched.
public struct BadmailfromError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Kind: String, Hashable, Sendable {
    /// The dialect of qmail-smtpd is not known.
    case unknownDialect
    /// A symbolic link, directory, hard-linked, compiled, hidden from qmail-smtpd, too long, with NUL bytes: not ours to replace.
    case unfit
    /// The sender has no safe line.
    case unblockable
    /// The administrator kept changing the file, or has it open for writing.
    case busy
    /// No permission.
    case permission
    /// The file system refused.
    case unwritable
  }

  public var kind: Kind
  public var path: String
  public var message: String
  public var remedy: String?

  public init(_ kind: Kind, _ path: String, _ message: String, remedy: String? = nil) {
    self.kind = kind
    self.path = path
    self.message = message
    self.remedy = remedy
  }

  init(_ error: FileError) {
    let reason = String(cString: strerror(error.code))
    self.init(
      error.isPermission ? .permission : .unwritable, error.path,
      "cannot \(error.operation): \(reason)",
      remedy: error.isPermission
        ? "run as root, or let qwarden write the control directory"
        : error.code == EROFS
          ? "the daemon asks qwarden-badmailfrom.socket, which is not there; start it"
          : error.remedy)
  }

  public var exitCode: Int32 {
    switch kind {
    case .unknownDialect, .unfit, .unblockable: Exit.badData
    case .busy: Exit.tryAgain
    case .permission: Exit.noPermission
    case .unwritable: Exit.cannotCreate
    }
  }

  public var description: String {
    let place = Escaping.terminal(path)
    return remedy.map { "\(place): \(message); \($0)" } ?? "\(place): \(message)"
  }
}

extension FileError {
  /// The file is longer than the reader's limit.
  var isTooLong: Bool { code == EFBIG }
}
