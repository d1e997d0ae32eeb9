import Files
import GRDB
import Mail

extension Ledger {
  /// The clock that its times are by; nil: not known yet.
  public func clock() throws(LedgerError) -> ClockReading? { try read(Self.clock) }

  /// The clock stands so now. Where it was set since that was last written here, what is still to run out is moved with it: it does so
  /// after the time it was given, and not at a date that the clock has jumped to. Of another run of the machine nothing can be known.
  ///
  /// To be called by all who write, before they do; how often does not matter.
  /// - Returns: by how much it was moved; nil when it was not.
  @discardableResult
  public func adopt(_ now: ClockReading) throws(LedgerError) -> Duration? {
    func isUpToDate(_ known: ClockReading?) -> Bool {
      known.map { now.boot == $0.boot && now.shift(since: $0) == nil } ?? false
    }
    guard !isUpToDate(try clock()) else { return nil }
    return try write { database in
      let known = try Self.clock(database)
      // Somebody else was faster.
      guard !isUpToDate(known) else { return nil }
      try database.execute(
        sql: "REPLACE INTO clock (only, boot, ahead) VALUES (1, ?, ?)",
        arguments: [now.boot, now.ahead])
      let shift = known.flatMap { now.shift(since: $0) }
      if let shift { try Self.move(by: shift.wholeNanoseconds, database) }
      return shift
    }
  }

  private static func clock(_ database: Database) throws -> ClockReading? {
    try Row.fetchOne(database, sql: "SELECT boot, ahead FROM clock").map {
      ClockReading(boot: $0["boot"], ahead: $0["ahead"])
    }
  }

  private static func move(by shift: Int64, _ database: Database) throws {
    for statement in [
      """
      UPDATE blocks SET created = created + ?1, expires = expires + ?1
      WHERE state IN ('intended', 'active')
      """,
      "UPDATE graces SET until = until + ?1",
      """
      UPDATE quarantine SET intended = intended + ?1, expires = expires + ?1
      WHERE state NOT IN ('released', 'expired', 'abandoned')
      """,
    ] {
      try database.execute(sql: statement, arguments: [shift])
    }
  }
}
