import GRDB
import Mail

extension Ledger {
  /// Forgets what ended before `moment`, so that the ledger stays bounded: closed quarantine rows, removed blocks, ended incidents,
  /// their history, and graces that have run out. What is open is never forgotten, nor a message whose old entry still departs.
  public func forget(before moment: Timestamp) throws(LedgerError) {
    try write { database in
      for statement in [
        """
        DELETE FROM quarantine WHERE state IN ('released', 'expired', 'abandoned') AND closed < ?1
          AND (marked IS NULL OR gone IS NOT NULL)
        """,
        "DELETE FROM blocks WHERE state = 'removed' AND removed < ?1",
        "DELETE FROM incidents WHERE ended < ?1",
        "DELETE FROM actions WHERE last < ?1",
        "DELETE FROM graces WHERE until < ?1",
      ] {
        try database.execute(sql: statement, arguments: [moment.column])
      }
    }
  }
}
