import GRDB
import Mail

extension Ledger {
  /// The clock was set: what is still to run out does so after the time it was given, and not at a date that the clock has jumped to.
  public func clockWasSet(by shift: Duration) throws(LedgerError) {
    let shift = shift.wholeNanoseconds
    try write { database in
      try database.execute(
        sql: """
          UPDATE blocks SET created = created + ?1, expires = expires + ?1
          WHERE state IN ('intended', 'active')
          """, arguments: [shift])
      try database.execute(sql: "UPDATE graces SET until = until + ?", arguments: [shift])
      try database.execute(
        sql: """
          UPDATE quarantine SET expires = expires + ?
          WHERE state NOT IN ('released', 'expired', 'abandoned')
          """, arguments: [shift])
    }
  }
}
