import Glibc
import Mail

/// A file operation that failed: what was tried, on what, why, and what to do about it.
public struct FileError: Error, Hashable, Sendable, CustomStringConvertible {
  public var operation: String
  public var path: String
  /// `errno` of the failed call.
  public var code: Int32
  /// How to mend it, when more is known than errno says.
  public var remedy: String?

  public init(_ operation: String, _ path: String, code: Int32 = errno, remedy: String? = nil) {
    self.operation = operation
    self.path = path
    self.code = code
    self.remedy = remedy
  }

  public var isMissing: Bool { code == ENOENT || code == ENOTDIR }
  public var isPermission: Bool { code == EACCES || code == EPERM }

  public var exitCode: Int32 {
    if isPermission { return Exit.noPermission }
    return operation == "create" ? Exit.cannotCreate : Exit.inputOutput
  }

  /// What errno says.
  public var reason: String { String(cString: strerror(code)) }

  public var description: String {
    let base = "\(Escaping.terminal(path)): cannot \(operation): \(reason)"
    let advice = remedy ?? (isPermission ? "run as root" : nil)
    return advice.map { "\(base); \($0)" } ?? base
  }
}
