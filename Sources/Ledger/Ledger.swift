import Files
import Foundation
import GRDB
import Glibc
import Mail

/// What qwarden knows beyond the queue itself: incidents, blocks, quarantine and what was done or held, in one SQLite file.
///
/// The ledger is the write-ahead record of the hands: an intent is committed here (WAL, `synchronous=FULL`: on the disk when the
/// call returns) before a file is touched. Daemon and commands open it at the same time; each call is one transaction and waits up
/// to ``patience`` for another process. Calls block; none reads a clock.
public final class Ledger: Sendable {
  public let path: String
  private let queue: DatabaseQueue

  /// How long a call waits for another process that writes.
  public static let patience = Duration.seconds(5)

  /// Opens the ledger at `path`; creates it (mode 0600) and brings an older one to this version.
  ///
  /// Safe when several processes do this at once. A database that is not ours or newer is refused and not a byte of it changed.
  /// - Parameter creating: false for commands that only read: a missing ledger is then an error of kind `missing`.
  public init(_ path: String, creating: Bool = true) throws(LedgerError) {
    self.path = path
    // SQLite would create the file by the umask; its -wal and -shm files take the mode from it.
    let isRegular: Bool
    do throws(FileError) {
      let file = try Descriptor.open(path, creating ? [.readWrite, .create] : .readWrite)
      isRegular = try file.status().isRegular
      if isRegular, creating { try Folder.hand(file) }
    } catch {
      throw Self.error(path, opening: error.code)
    }
    guard isRegular else { throw LedgerError(.notOurs, path, "this is not a regular file") }
    do {
      var configuration = Configuration()
      configuration.label = "ledger"
      configuration.busyMode = .timeout(Self.patience.inSeconds)
      configuration.foreignKeysEnabled = true
      queue = try DatabaseQueue(path: path, configuration: configuration)
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
        }
        return
      } catch let error as DatabaseError
        where error.resultCode == .SQLITE_BUSY && attempt < 100
      {
        usleep(20_000)
      }
    }
  }

  // MARK: - For the rest of this room

  func read<T>(_ body: (Database) throws -> T) throws(LedgerError) -> T {
    do { return try queue.read(body) } catch { throw Self.error(path, error) }
  }

  func write<T>(_ body: (Database) throws -> T) throws(LedgerError) -> T {
    do { return try queue.write(body) } catch { throw Self.error(path, error) }
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
    case .SQLITE_PERM, .SQLITE_READONLY, .SQLITE_AUTH:
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
