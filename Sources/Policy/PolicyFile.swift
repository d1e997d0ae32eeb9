import Mail
import Storms
import Yams

/// policy.yaml into a ``Policy``.
public enum PolicyFile {
  /// Reads and checks the file.
  /// - Throws: every error in it, not only the first; a missing file is an error too.
  public static func load(_ path: String) throws(PolicyErrors) -> Policy {
    Policy()
  }

  /// Checks policy text; `path` is only for the errors.
  public static func parse(_ bytes: [UInt8], path: String) throws(PolicyErrors) -> Policy {
    Policy()
  }
}
