import Files
import Mail

/// Why `control/` could not be read: the file, the line where there is one, and what to do about it.
public struct ControlError: Error, Hashable, Sendable, CustomStringConvertible {
  public var path: String
  /// 1-based; nil when the whole file is meant.
  public var line: Int?
  public var message: String
  public var remedy: String?
  /// `noQueue`: there is no qmail here; `badData`: the file is not what qmail could read.
  public var exitCode: Int32

  public init(
    _ path: String, line: Int? = nil, _ message: String, remedy: String? = nil, exitCode: Int32
  ) {
    self.path = path
    self.line = line
    self.message = message
    self.remedy = remedy
    self.exitCode = exitCode
  }

  init(_ error: FileError) {
    self.init(
      error.path, String(error.description.dropFirst(error.path.utf8.count + 2)),
      exitCode: error.isPermission
        ? Exit.noPermission : error.isMissing ? Exit.noQueue : Exit.badData)
  }

  public var description: String {
    let path = Escaping.terminal(path)
    let place = line.map { "\(path):\($0)" } ?? path
    return remedy.map { "\(place): \(message); \($0)" } ?? "\(place): \(message)"
  }
}
