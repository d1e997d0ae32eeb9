import GRDB
import Glibc
import Mail

/// A daemon must not stay down over a damaged file of its own.
extension Ledger {
  /// Opens the ledger; one that is damaged, or is no database at all, is moved aside under a name with the date, its companions
  /// with it, and a new one begun. What else keeps it from opening (a later version, another program's, a full disk) is thrown.
  /// - Parameter patience: how long each call waits for another process.
  /// - Returns: also where the old one is now; nil when it was sound.
  public static func openSound(
    _ path: String, at now: Timestamp, patience: Duration = Ledger.patience
  ) throws(LedgerError) -> (ledger: Ledger, aside: String?) {
    try openSound(path, at: now, Health(patience))
  }

  static func openSound(_ path: String, at now: Timestamp, _ health: Health) throws(LedgerError)
    -> (ledger: Ledger, aside: String?)
  {
    let damage: LedgerError
    do throws(LedgerError) {
      let ledger = try Ledger(path, creating: true, health)
      try ledger.check()
      return (ledger, nil)
    } catch {
      guard error.kind == .damaged || error.kind == .notDatabase else { throw error }
      damage = error
    }
    let stamp = now.iso8601.filter { $0 != "-" && $0 != ":" }
    let aside = "\(path).damaged-\(stamp)"
    // The companions first: they belong to the old one, and a kill in between leaves it to be found again.
    for suffix in ["-wal", "-shm", ""] where rename(path + suffix, aside + suffix) != 0 {
      guard errno == ENOENT else {
        throw LedgerError(
          damage.kind, path,
          "\(damage.detail), and cannot be set aside: \(String(cString: strerror(errno)))"
        )
      }
    }
    return (try Ledger(path, creating: true, health), aside)
  }
}
