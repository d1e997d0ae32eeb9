import Files
import Foundation
import GRDB
import Glibc
import Mail
import Synchronization

/// What qwarden knows beyond the queue itself: incidents, blocks, quarantine and what was done or held, in one SQLite file.
///
/// The ledger is the write-ahead record of the hands: an intent is committed here (WAL, `synchronous=FULL`: on the disk when the
/// call returns) before a file is touched. Daemon and commands open it at the same time; each call is one transaction and waits so
/// long as it was opened with for another process, and hardly at all while that has just kept it waiting in vain. Calls block; none
/// reads a clock.
public final class Ledger: Sendable {
  public let path: String
  private let opened: Mutex<Opened>
  private let health: Health

  /// How long a call waits for another process that writes, unless it is opened with less: a loop that watches stands still meanwhile.
  public static let patience = Duration.seconds(5)

  private struct Opened {
    /// nil: a damaged one is closed, and none could be opened in its place yet.
    var queue: DatabaseQueue?
    var file: FileStatus?
    /// The file's mtime when it was last read as a whole.
    var checked: Timestamp?
    /// Connections to files that were moved away under us. They are not closed: SQLite would remove the write-ahead log that
    /// stands beside another database by now.
    var displaced: [DatabaseQueue] = []
  }

  final class Health: Sendable {
    let failure = Mutex<LedgerError?>(nil)
    private let patience: Duration

    init(_ patience: Duration) { self.patience = patience }

    /// One whose every call waited in vain would let its daemon look at nothing else.
    var wait: Duration {
      failure.withLock { $0?.kind } == .busy ? min(.milliseconds(20), patience) : patience
    }
  }

  /// Why the latest call failed; nil as soon as something has been written again.
  public var failure: LedgerError? { health.failure.withLock { $0 } }

  /// Opens the ledger at `path`; creates it (mode 0600) and brings an older one to this version.
  ///
  /// Safe when several processes do this at once. A database that is not ours or newer is refused and not a byte of it changed.
  /// - Parameters:
  ///   - creating: false for commands that only read: a missing ledger is then an error of kind `missing`.
  ///   - patience: how long each call waits for another process.
  public convenience init(
    _ path: String, creating: Bool = true, patience: Duration = Ledger.patience
  ) throws(LedgerError) {
    try self.init(path, creating: creating, Health(patience))
  }

  init(_ path: String, creating: Bool, _ health: Health) throws(LedgerError) {
    self.path = path
    self.health = health
    // SQLite would create the file by the umask; its -wal and -shm files take the mode from it.
    let status: FileStatus
    do throws(FileError) {
      let file = try Descriptor.open(path, creating ? [.readWrite, .create] : .readWrite)
      status = try file.status()
      if status.isRegular, creating { try Folder.hand(file) }
    } catch {
      throw Self.error(path, opening: error.code)
    }
    guard status.isRegular else { throw LedgerError(.notOurs, path, "this is not a regular file") }
    do {
      var configuration = Configuration()
      configuration.label = "ledger"
      configuration.busyMode = .callback { tries in
        guard Duration.milliseconds(10 * tries) < health.wait else { return false }
        usleep(10_000)
        return true
      }
      configuration.foreignKeysEnabled = true
      let queue = try DatabaseQueue(path: path, configuration: configuration)
      opened = Mutex(Opened(queue: queue, file: status))
      try queue.inTransaction(.immediate) { database in
        try Self.adopt(database, path)
        return .commit
      }
      try Self.setJournal(queue, path)
    } catch let error as LedgerError {
      throw error
    } catch {
      throw Self.error(path, error)
    }
  }

  private static func adopt(_ database: Database, _ path: String) throws {
    let owner = try Int32.fetchOne(database, sql: "PRAGMA application_id") ?? 0
    let version = try Int.fetchOne(database, sql: "PRAGMA user_version") ?? 0
    if owner != Schema.applicationID {
      let tables = try Int.fetchOne(database, sql: "SELECT count(*) FROM sqlite_master") ?? 0
      guard owner == 0, version == 0, tables == 0 else {
        throw LedgerError(.notOurs, path, "this database belongs to another program")
      }
    }
    guard version >= 0, version <= Schema.version else {
      throw LedgerError(
        .newer, path,
        "this ledger has version \(version), and this qwarden knows versions up to \(Schema.version)"
      )
    }
    if version < Schema.version { try Schema.migrate(database, from: version) }
  }

  /// WAL is set after the database is known to be ours: it changes the file. The switch needs the file alone and is not covered by
  /// the busy timeout, so it is tried again while another process does the same.
  private static func setJournal(_ queue: DatabaseQueue, _ path: String) throws {
    for attempt in 1... {
      do {
        try queue.inDatabase { database in
          let mode = try String.fetchOne(database, sql: "PRAGMA journal_mode = WAL")
          guard mode == "wal" else {
            throw LedgerError(.storage, path, "this filesystem cannot hold a write-ahead log")
          }
          try database.execute(sql: "PRAGMA synchronous = FULL")
          // By default 2,000 KB: memory that grows with the ledger for hours. The kernel has the file too.
          try database.execute(sql: "PRAGMA cache_size = -750")
        }
        return
      } catch let error as DatabaseError
        where error.resultCode == .SQLITE_BUSY && attempt < 100
      {
        usleep(20_000)
      }
    }
  }

  /// Differs from an earlier one whenever anybody has committed something since.
  public struct Mark: Sendable, Hashable {
    /// Moved by other processes' commits, and by our own changes.
    let others: Int
    let ours: Int
    /// Of the file.
    let inode: UInt64?
  }

  /// Two system calls, so that nothing need be asked of a ledger that has not changed.
  public func mark() throws(LedgerError) -> Mark {
    let queue = try queue()
    let inode = opened.withLock { $0.file?.inode }
    do {
      return try queue.unsafeRead { database in
        Mark(
          others: try Int.fetchOne(database, sql: "PRAGMA data_version") ?? 0,
          ours: database.totalChangesCount, inode: inode)
      }
    } catch { throw failed(error) }
  }

  // MARK: - While it is open

  /// Writes something, to find out whether that is possible again.
  public func probe() throws(LedgerError) {
    try write { try $0.execute(sql: "PRAGMA user_version = \(Schema.version)") }
  }

  /// Reads the whole file when it has been written to since it was last read so: what this connection has in memory hides that somebody
  /// else has written over it.
  public func check() throws(LedgerError) {
    let modified = (try? FileStatus.of(path))?.modified
    guard modified != opened.withLock({ $0.checked }) else { return }
    do {
      var configuration = Configuration()
      configuration.readonly = true
      configuration.busyMode = .timeout(1)
      let fresh = try DatabaseQueue(path: path, configuration: configuration)
      defer { try? fresh.close() }
      let found = try fresh.read { try String.fetchOne($0, sql: "PRAGMA quick_check(1)") }
      guard found == "ok" else {
        throw LedgerError(.damaged, path, "the ledger is damaged: \(found ?? "no answer")")
      }
    } catch { throw failed(error) }
    opened.withLock { $0.checked = modified }
  }

  /// The file that is open is still the one that stands at ``path``, as far as that can be seen.
  public var isInPlace: Bool {
    guard let file = opened.withLock({ $0.file }) else { return false }
    do throws(FileError) { return try FileStatus.of(path).isSameFile(as: file) } catch {
      return !error.isMissing
    }
  }

  /// Opens what stands at ``path`` in place of the file that is open: it was found damaged, or is not there any more. Damaged, it is set
  /// aside first, as ``openSound(_:at:patience:)`` does.
  /// - Returns: where a damaged one is now.
  public func reopen(at now: Timestamp) throws(LedgerError) -> String? {
    let wasInPlace = isInPlace
    opened.withLock { opened in
      guard let queue = opened.queue else { return }
      // Closed before it is moved: the last to close removes the write-ahead log, by its name.
      opened.checked = nil
      if wasInPlace { try? queue.close() } else { opened.displaced.append(queue) }
      opened.queue = nil
      opened.file = nil
    }
    do {
      let (fresh, aside) = try Self.openSound(path, at: now, health)
      let (queue, file) = fresh.opened.withLock { ($0.queue, $0.file) }
      opened.withLock { opened in
        opened.queue = queue
        opened.file = file
      }
      try probe()
      return aside
    } catch {
      health.failure.withLock { $0 = error }
      throw error
    }
  }

  // MARK: - For the rest of this room

  func read<T>(_ body: (Database) throws -> T) throws(LedgerError) -> T {
    let queue = try queue()
    do { return try queue.read(body) } catch { throw failed(error) }
  }

  func write<T>(_ body: (Database) throws -> T) throws(LedgerError) -> T {
    let queue = try queue()
    do {
      let result = try queue.write(body)
      health.failure.withLock { $0 = nil }
      return result
    } catch { throw failed(error) }
  }

  private func queue() throws(LedgerError) -> DatabaseQueue {
    if let queue = opened.withLock({ $0.queue }) { return queue }
    throw failure ?? LedgerError(.damaged, path, "the ledger is damaged and closed")
  }

  private func failed(_ error: any Error) -> LedgerError {
    let failure = Self.error(path, error)
    health.failure.withLock { $0 = failure }
    return failure
  }

  private static func error(_ path: String, opening code: Int32) -> LedgerError {
    let text = String(cString: strerror(code))
    switch code {
    case ENOENT, ENOTDIR: return LedgerError(.missing, path, "cannot open the ledger: \(text)")
    case EACCES, EPERM: return LedgerError(.permission, path, "cannot open the ledger: \(text)")
    case ELOOP:
      return LedgerError(.notOurs, path, "this is a symbolic link, which is not followed here")
    case EISDIR: return LedgerError(.notOurs, path, "this is a directory")
    default: return LedgerError(.storage, path, "cannot open the ledger: \(text)")
    }
  }

  private static func error(_ path: String, _ error: any Error) -> LedgerError {
    if let error = error as? LedgerError { return error }
    guard let error = error as? DatabaseError else {
      return LedgerError(.defect, path, "unexpected content: \(error)")
    }
    let text = error.message ?? "SQLite error \(error.resultCode.rawValue)"
    switch error.resultCode {
    case .SQLITE_NOTADB:
      return LedgerError(.notDatabase, path, "this is not an SQLite database")
    case .SQLITE_CORRUPT: return LedgerError(.damaged, path, "the ledger is damaged: \(text)")
    case .SQLITE_BUSY, .SQLITE_LOCKED:
      return LedgerError(.busy, path, "the ledger is locked by another process")
    case .SQLITE_READONLY:
      return LedgerError(
        .permission, path, "cannot write the ledger: \(text)",
        remedy:
          "mount its filesystem for writing, or run as the user of the qwarden service or as root")
    case .SQLITE_PERM, .SQLITE_AUTH:
      return LedgerError(.permission, path, "cannot write the ledger: \(text)")
    case .SQLITE_FULL, .SQLITE_IOERR, .SQLITE_CANTOPEN, .SQLITE_NOMEM:
      return LedgerError(.storage, path, "cannot use the ledger: \(text)")
    default: return LedgerError(.defect, path, "the ledger refused a statement: \(text)")
    }
  }
}

extension Timestamp {
  var column: Int64 { nanoseconds }
  init(column: Int64) { self.init(nanoseconds: column) }
}

extension [UInt8] {
  /// As a BLOB: bytes from mail are never text here.
  var blob: Data { Data(self) }
}
