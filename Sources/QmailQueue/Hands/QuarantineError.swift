import Files
import Mail

/// Why the quarantine store did not do what was asked. Nothing of the queue has changed when one of these is thrown.
public struct QuarantineError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Kind: Hashable, Sendable {
    /// The directory is not a store of ours: owner, mode, or not a directory at all.
    case foreign
    /// A file of the store does not say what it must: cut short, or written by something else.
    case damaged
    /// There is no such message in the store.
    case missing
    /// The message is in the store already and may have been marked: ``Recovery`` decides, not a new copy.
    case exists
    case file(FileError)
  }

  public var kind: Kind
  public var path: String
  public var why: String

  init(_ kind: Kind, _ path: String, _ why: String) {
    self.kind = kind
    self.path = path
    self.why = why
  }

  init(_ error: FileError) { self.init(.file(error), error.path, error.description) }

  public var exitCode: Int32 {
    if case .file(let error) = kind { error.exitCode } else { Exit.badData }
  }

  public var description: String {
    if case .file = kind { why } else { "\(Escaping.terminal(path)): \(why)" }
  }
}
