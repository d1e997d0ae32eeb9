import Files
import Mail

/// Why the ledger could not be opened, read or written: one line with path and remedy.
public struct LedgerError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Kind: Sendable, Hashable {
    /// A database of another program, or no regular file.
    case notOurs
    /// Not an SQLite database, or none any more.
    case notDatabase
    /// Written by a later version of qwarden.
    case newer
    /// Ours, but damaged.
    case damaged
    /// Another process held it longer than the busy timeout.
    case busy
    case permission
    /// It does not exist and was not to be created.
    case missing
    /// Disk full, read-only, I/O error.
    case storage
    /// A row holds what no version of qwarden writes, or a statement failed: a defect.
    case defect
  }

  public var kind: Kind
  public var path: String
  public var detail: String
  public var remedy: String

  public init(_ kind: Kind, _ path: String, _ detail: String, remedy: String? = nil) {
    self.kind = kind
    self.path = path
    self.detail = detail
    self.remedy = remedy ?? Self.usualRemedy(kind)
  }

  public var description: String { "\(Escaping.terminal(path)): \(detail); \(remedy)" }

  public var exitCode: Int32 {
    switch kind {
    case .notOurs, .notDatabase, .newer, .damaged, .defect: Exit.badData
    case .missing: Exit.noQueue
    case .busy, .storage: Exit.inputOutput
    case .permission: Exit.noPermission
    }
  }

  private static func usualRemedy(_ kind: Kind) -> String {
    switch kind {
    case .notOurs: "name another state directory with --state, or move this file away"
    case .newer: "install the later qwarden that wrote it, or name another state directory"
    case .damaged, .notDatabase:
      "start the daemon again: it sets the file aside, and takes up what the quarantine directory holds"
    case .busy: "another qwarden is at work on it: try again"
    case .permission: "run as the user of the qwarden service, or as root"
    case .missing: "is qwarden running with this state directory? name it with --state"
    case .storage: "free disk space or mend the filesystem, then try again"
    case .defect: "please report this"
    }
  }
}
