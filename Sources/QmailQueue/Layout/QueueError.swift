import Files
import Mail

/// A queue that cannot be read as a whole. Prints as one clear line with a remedy.
public struct QueueError: Error, Hashable, Sendable, CustomStringConvertible {
  public enum Kind: Hashable, Sendable {
    /// There is no such directory, or it has gone.
    case noQueue
    /// There is something, but not the directories of a qmail queue.
    case notAQueue
    /// This user may not read it.
    case permission
    /// The kernel failed for another reason (I/O, too many files).
    case unreadable
  }

  public var kind: Kind
  public var path: String
  /// What was found instead.
  public var problem: String
  public var remedy: String

  public init(_ kind: Kind, _ path: String, _ problem: String, remedy: String) {
    self.kind = kind
    self.path = path
    self.problem = problem
    self.remedy = remedy
  }

  init(_ error: FileError) {
    path = error.path
    problem = "cannot \(error.operation): \(error.reason)"
    if error.isPermission {
      kind = .permission
      remedy = "run as root or as user qmails"
    } else if error.isMissing {
      kind = .noQueue
      remedy = "check that the queue is there, or name another qmail directory with --qmail"
    } else {
      kind = .unreadable
      remedy = "look at the kernel log and the filesystem"
    }
  }

  public var exitCode: Int32 { kind == .permission ? Exit.noPermission : Exit.noQueue }

  public var description: String { "\(Escaping.terminal(path)): \(problem); \(remedy)" }
}
