import Files
import Mail

/// control/badmailfrom: qwarden's own lines in a file that belongs to the administrator.
public struct Badmailfrom: Sendable {
  public let path: String
  /// nil: unknown; the file may be read but is never written.
  public let dialect: BadmailfromDialect?

  /// - Parameter control: the control directory, usually `/var/qmail/control`.
  public init(control: String, dialect: BadmailfromDialect?) {
    path = "\(control)/badmailfrom"
    self.dialect = dialect
  }

  /// Reads the file; a missing one is empty.
  public func contents() throws(BadmailfromError) -> BadmailfromContents {
    BadmailfromContents(ownLines: [], notes: [])
  }

  /// Makes `ownLines` qwarden's lines, exactly these, and leaves every byte of the administrator's as it is.
  ///
  /// The file is replaced by rename, with its owner and mode, after a last look: if the administrator has changed it meanwhile,
  /// everything starts over from the new bytes.
  /// - Returns: whether the file changed; when nothing would change, nothing is written.
  @discardableResult
  public func replace(ownLines: [OwnLine]) throws(BadmailfromError) -> Bool {
    throw BadmailfromError(.unknownDialect, path, "not yet")
  }
}

/// badmailfrom as it was read.
public struct BadmailfromContents: Sendable, Hashable {
  /// qwarden's own lines, in file order, recognised by their tags alone.
  public var ownLines: [OwnLine]
  /// What an administrator should know: lines with CR that can never match, and the like.
  public var notes: [String]

  /// Whether the administrator's own lines already block this sender. Sure when true; false may be "cannot tell" (patterns).
  public func adminBlocks(_ sender: Address) -> Bool { false }
}
