import Files
import Mail

/// One thing wrong in a policy file, with its place.
public struct PolicyError: Error, Hashable, Sendable, Comparable, CustomStringConvertible {
  public var path: String
  /// 1-based; 0 when the whole file is meant.
  public var line: Int
  public var column: Int
  public var message: String

  public init(path: String, line: Int, column: Int, message: String) {
    self.path = path
    self.line = line
    self.column = column
    self.message = message
  }

  /// `policy.yaml:3:3: unknown key 'treshold', did you mean 'threshold'?`
  public var description: String {
    let path = Escaping.terminal(path)
    return line > 0 ? "\(path):\(line):\(column): \(message)" : "\(path): \(message)"
  }

  public static func < (a: PolicyError, b: PolicyError) -> Bool {
    (a.line, a.column) < (b.line, b.column)
  }
}

/// Everything wrong in a policy file, in the order of its lines.
public struct PolicyErrors: Error, Hashable, Sendable, CustomStringConvertible {
  public var errors: [PolicyError]
  public var exitCode: Int32

  public init(_ errors: [PolicyError], exitCode: Int32 = Exit.badPolicy) {
    self.errors = errors
    self.exitCode = exitCode
  }

  /// One line each.
  public var description: String { errors.map(\.description).joined(separator: "\n") }
}
