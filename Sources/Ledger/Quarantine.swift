import Foundation
import GRDB
import Mail

extension [QuarantineRecord.State: Int] {
  /// Of rows counted by state: those taken out of the queue and kept.
  public var kept: Int { (self[.marked] ?? 0) + (self[.gone] ?? 0) }
}

extension Ledger {
  private typealias State = QuarantineRecord.State

  /// Commits the intent to set these messages aside. One that is already in hand is passed over.
  /// - Returns: how many are new.
  @discardableResult
  public func intendQuarantine(
    of identities: [EntryIdentity], incident: Int?, expires: Timestamp, at now: Timestamp
  ) throws(LedgerError) -> Int {
    try write { database in
      let statement = try database.makeStatement(
        sql: """
          INSERT INTO quarantine (id, birth, incident, state, sender, size, recipients, in_doubt,
            subject, via, intended, expires)
          SELECT ?1, ?2, ?3, 'intended', x'', 0, 0, 0, x'', 'unknown', ?4, ?5 \(Self.unlessInHand)
          """)
      var new = 0
      for identity in identities {
        try statement.execute(arguments: [
          Int64(bitPattern: identity.id), identity.birth.column, incident, now.column,
          expires.column,
        ])
        new += database.changesCount
      }
      return new
    }
  }

  /// Commits an administrator's order to take these messages out of the queue. One that a storm's response has chosen already is taken
  /// over.
  /// - Parameters:
  ///   - note: who ordered it and why.
  ///   - keeping: how long the copy is kept; nil: not at all, see ``QuarantineRecord/keepsNothing``.
  /// - Returns: the latest row of each message, in their order.
  public func orderQuarantine(
    of messages: ArraySlice<(identity: EntryIdentity, sender: Address)>, note: String,
    keeping: Duration?, at now: Timestamp
  ) throws(LedgerError) -> [QuarantineRecord] {
    let expires = keeping.map { now + $0 } ?? now
    return try write { database in
      let insert = try database.makeStatement(
        sql: """
          INSERT INTO quarantine (id, birth, state, sender, size, recipients, in_doubt, subject,
            via, intended, expires, note)
          SELECT ?1, ?2, 'intended', ?3, 0, 0, 0, x'', 'unknown', ?4, ?5, ?6 \(Self.unlessInHand)
          """)
      let take = try database.makeStatement(
        sql: """
          UPDATE quarantine SET note = ?, expires = CASE WHEN ? THEN intended ELSE ? END
          WHERE id = ? AND birth = ? AND state IN ('intended', 'copied')
          """)
      let latest = try database.makeStatement(
        sql:
          "SELECT \(Self.columns) FROM quarantine WHERE id = ? AND birth = ? ORDER BY number DESC LIMIT 1"
      )
      var rows: [QuarantineRecord] = []
      for (identity, sender) in messages {
        let key: StatementArguments = [Int64(bitPattern: identity.id), identity.birth.column]
        try insert.execute(
          arguments: key + [sender.bytes.blob, now.column, expires.column, note])
        if database.changesCount == 1 {
          // Not read again: that would be half of what an order costs.
          var facts = QuarantineRecord.Facts()
          facts.sender = sender
          rows.append(
            QuarantineRecord(
              id: database.lastInsertedRowID, identity: identity, state: .intended, facts: facts,
              intended: now, expires: expires, note: note, released: 0))
          continue
        }
        try take.execute(arguments: [note, keeping == nil, expires.column] + key)
        if let row = try Row.fetchOne(latest, arguments: key) {
          rows.append(try Self.message(row))
        }
      }
      return rows
    }
  }

  /// Rows in any of `states` with a number above `after`, by number, at most `limit`.
  public func quarantine(
    _ states: Set<QuarantineRecord.State>, after: Int64 = 0, limit: Int = .max
  ) throws(LedgerError) -> [QuarantineRecord] {
    try read { database in
      // Not all rows at once: each has a kilobyte until it is a record.
      try Array(
        Row.fetchCursor(
          database,
          sql: """
            SELECT \(Self.columns) FROM quarantine WHERE state IN (\(Self.list(states))) AND number > ?
            ORDER BY number LIMIT ?
            """,
          arguments: [after, limit]
        ).map(Self.message))
    }
  }

  /// Every row of this queue number that is not final, oldest first.
  public func quarantine(id: UInt64) throws(LedgerError) -> [QuarantineRecord] {
    try quarantine(ids: [id])[id] ?? []
  }

  /// The rows that are not final of each of these queue numbers that has one, oldest first.
  public func quarantine(ids: Set<UInt64>) throws(LedgerError) -> [UInt64: [QuarantineRecord]] {
    try read { database in
      let ofNumber = try database.cachedStatement(
        sql: """
          SELECT \(Self.columns) FROM quarantine WHERE id = ? AND \(Self.isOpen) ORDER BY number
          """)
      var rows: [UInt64: [QuarantineRecord]] = [:]
      for id in ids {
        let found = try Row.fetchAll(ofNumber, arguments: [Int64(bitPattern: id)])
        if !found.isEmpty { rows[id] = try found.map(Self.message) }
      }
      return rows
    }
  }

  /// The row of this number; nil when there is none, or none any more.
  public func quarantine(number: Int64) throws(LedgerError) -> QuarantineRecord? {
    try read { database in
      try Row.fetchOne(
        database, sql: "SELECT \(Self.columns) FROM quarantine WHERE number = ?",
        arguments: [number]
      ).map(Self.message)
    }
  }

  /// Rows whose old entry has not left the queue yet, by number, at most `limit`; those with recipients in doubt alone, where asked:
  /// a delivery under way may leave a bounce.
  public func departing(inDoubtOnly: Bool = false, after: Int64 = 0, limit: Int)
    throws(LedgerError) -> [QuarantineRecord]
  {
    try read { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT \(Self.columns) FROM quarantine
          INDEXED BY \(inDoubtOnly ? "quarantine_doubtful" : "quarantine_departing")
          WHERE marked IS NOT NULL AND gone IS NULL AND number > ?
          \(inDoubtOnly ? "AND in_doubt > 0" : "") ORDER BY number LIMIT ?
          """,
        arguments: [after, limit]
      ).map(Self.message)
    }
  }

  /// Of these queue numbers: rows that are copied and whose entry has not left the queue, as far as is known.
  public func taken(ids: Set<UInt64>) throws(LedgerError) -> [QuarantineRecord] {
    if ids.isEmpty { return [] }
    return try read { database in
      // Mostly there are none at all.
      guard
        try Bool.fetchOne(
          database.cachedStatement(
            sql: """
              SELECT \(Self.someDepart) OR EXISTS (SELECT 1 FROM quarantine INDEXED BY quarantine_ordered
                WHERE incident IS NULL AND gone IS NULL AND copied IS NOT NULL)
              """)) == true
      else { return [] }
      let ofNumber = try database.cachedStatement(
        sql: """
          SELECT \(Self.columns) FROM quarantine
          WHERE id = ? AND copied IS NOT NULL AND gone IS NULL AND state NOT IN ('intended', 'abandoned')
          """)
      return try ids.flatMap { id in
        try Row.fetchAll(ofNumber, arguments: [Int64(bitPattern: id)]).map(Self.message)
      }
    }
  }

  /// Whether ``departing(inDoubtOnly:after:limit:)`` would give any.
  public func hasDeparting() throws(LedgerError) -> Bool {
    try read { try Bool.fetchOne($0, sql: "SELECT \(Self.someDepart)") ?? false }
  }

  private static let someDepart =
    "EXISTS (SELECT 1 FROM quarantine WHERE marked IS NOT NULL AND gone IS NULL)"

  /// How many messages wait for the hands: chosen or copied and not yet marked, or in a release that was cut off.
  public func waitingCount() throws(LedgerError) -> Int {
    try read { database in
      try Int.fetchOne(
        database,
        sql: """
          SELECT count(*) FROM quarantine WHERE state IN ('intended', 'copied', 'releasing')
          """) ?? 0
    }
  }

  /// The latest row of this message, final or not.
  public func quarantine(of identity: EntryIdentity) throws(LedgerError) -> QuarantineRecord? {
    try quarantine(of: [identity])[identity]
  }

  /// The latest row of each of these messages that has one.
  public func quarantine(of identities: [EntryIdentity]) throws(LedgerError)
    -> [EntryIdentity: QuarantineRecord]
  {
    try read { database in
      let latest = try database.cachedStatement(
        sql:
          "SELECT \(Self.columns) FROM quarantine WHERE id = ? AND birth = ? ORDER BY number DESC LIMIT 1"
      )
      var rows: [EntryIdentity: QuarantineRecord] = [:]
      for identity in identities {
        let key: StatementArguments = [Int64(bitPattern: identity.id), identity.birth.column]
        rows[identity] = try Row.fetchOne(latest, arguments: key).map(Self.message)
      }
      return rows
    }
  }

  /// Kept copies whose time has run out.
  public func expiredQuarantine(at now: Timestamp, limit: Int) throws(LedgerError)
    -> [QuarantineRecord]
  {
    try read { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT \(Self.columns) FROM quarantine INDEXED BY quarantine_expiring
          WHERE state = 'gone' AND expires <= ? ORDER BY expires LIMIT ?
          """,
        arguments: [now.column, limit]
      ).map(Self.message)
    }
  }

  /// How many rows stand in each state; of one incident or of all.
  public func quarantineCounts(incident: Int? = nil) throws(LedgerError)
    -> [QuarantineRecord.State: Int]
  {
    try read { database in
      let rows = try Row.fetchAll(
        database,
        sql: """
          SELECT state, count(*) AS n FROM quarantine
          \(incident == nil ? "" : "WHERE incident = ?") GROUP BY state
          """,
        arguments: incident.map { [$0] } ?? [])
      var counts: [QuarantineRecord.State: Int] = [:]
      for row in rows {
        if let state = QuarantineRecord.State(rawValue: row["state"]) { counts[state] = row["n"] }
      }
      return counts
    }
  }

  /// How many messages were taken out of the queue and are kept; of one incident or of all.
  public func keptCount(incident: Int? = nil) throws(LedgerError) -> Int {
    try quarantineCounts(incident: incident).kept
  }

  /// Messages of an incident that were chosen and not abandoned, and those of them that have left the queue.
  public func quarantineTally(incident: Int) throws(LedgerError) -> (chosen: Int, gone: Int) {
    try read { database in
      let row = try Row.fetchOne(
        database,
        sql: """
          SELECT count(*) AS chosen, count(gone) AS gone FROM quarantine
          WHERE incident = ? AND state <> 'abandoned'
          """,
        arguments: [incident])
      return (row?["chosen"] ?? 0, row?["gone"] ?? 0)
    }
  }

  /// A message that was given back under this pid at or before `moment`, and not more than a day earlier: pids come again.
  public func wasReleased(pid: Int32, before moment: Timestamp) throws(LedgerError) -> Bool {
    try read { database in
      try Bool.fetchOne(
        database,
        sql: """
          SELECT count(*) > 0 FROM quarantine
          WHERE release_pid = ? AND release_started BETWEEN ? AND ?
          """,
        arguments: [
          pid, (moment - .seconds(86_400)).column, (moment + .seconds(5)).column,
        ]) ?? false
    }
  }

  /// Those of these processes that were a qmail-queue given messages back after `moment`.
  public func released(by pids: Set<Int32>, since moment: Timestamp) throws(LedgerError)
    -> Set<Int32>
  {
    if pids.isEmpty { return [] }
    return try read { database in
      let statement = try database.cachedStatement(
        sql: "SELECT 1 FROM quarantine WHERE release_pid = ? AND release_started >= ? LIMIT 1")
      return try pids.filter {
        try Int.fetchOne(statement, arguments: [$0, moment.column]) != nil
      }
    }
  }

  // MARK: - Transitions. Each is one transaction; a row that is not in the state named is left as it is.

  /// `intended` → `copied`, with what was read. Call it after the copies are flushed to the disk.
  public func recordCopied(
    _ messages: [QuarantineRecord], at now: Timestamp, note: String? = nil
  ) throws(LedgerError) {
    try write { database in
      let statement = try database.makeStatement(
        sql: """
          UPDATE quarantine SET state = 'copied', copied = ?, sender = ?, size = ?, recipients = ?,
            in_doubt = ?, subject = ?, via = ?, client = ?, user = ?, uid = ?,
            note = ifnull(?, note)
          WHERE number = ? AND state = 'intended'
          """)
      for message in messages {
        let facts = message.facts
        try statement.execute(arguments: [
          now.column, facts.sender.bytes.blob, facts.size, facts.recipients, facts.inDoubt,
          facts.subject.blob, facts.source.via, facts.source.client, facts.source.user,
          facts.source.uid.map { Int64($0) }, note, message.id,
        ])
      }
    }
  }

  /// Moves rows from the state they have to `state`; one that is `intended` again has no marks.
  /// - Parameters:
  ///   - note: kept with the row where given.
  public func move(
    _ messages: [QuarantineRecord], to state: QuarantineRecord.State, at now: Timestamp,
    note: String? = nil
  ) throws(LedgerError) {
    let stamp: String? =
      switch state {
      case .marked: "marked"
      case .released, .expired, .abandoned: "closed"
      default: nil
      }
    try write { database in
      let statement = try database.makeStatement(
        sql: """
          UPDATE quarantine SET state = ?, note = ifnull(?, note)
          \(stamp.map { ", \($0) = ifnull(\($0), ?)" } ?? "")
          \(state == .intended ? ", marked = NULL" : "") WHERE number = ? AND state = ?
          """)
      for message in messages {
        let before: StatementArguments = [state.rawValue, note]
        let after: StatementArguments = [message.id, message.state.rawValue]
        try statement.execute(
          arguments: stamp == nil ? before + after : before + [now.column] + after)
      }
    }
  }

  /// `copied` → `marked`, with how many recipients are ours and how many of them a delivery in flight may have reached.
  public func recordMarked(_ messages: [QuarantineRecord], at now: Timestamp)
    throws(LedgerError)
  {
    try write { database in
      let statement = try database.makeStatement(
        sql: """
          UPDATE quarantine SET state = 'marked', marked = ?, recipients = ?, in_doubt = ?
          WHERE number = ? AND state = 'copied'
          """)
      for message in messages {
        try statement.execute(arguments: [
          now.column, message.facts.recipients, message.facts.inDoubt, message.id,
        ])
      }
    }
  }

  /// How many recipients of a message set aside are in doubt, as its copy says now.
  public func recordDoubts(_ count: Int, of message: QuarantineRecord) throws(LedgerError) {
    try write { database in
      try database.execute(
        sql: "UPDATE quarantine SET in_doubt = ? WHERE number = ? AND state = ?",
        arguments: [count, message.id, message.state.rawValue])
    }
  }

  /// Ends rows that were not taken out of the queue. One that was copied once stays as `abandoned`; one that never was (most
  /// messages of a backscatter storm live for milliseconds) is dropped: a storm must not fill the ledger with what it did not touch.
  public func abandon(_ messages: [QuarantineRecord], note: String, at now: Timestamp)
    throws(LedgerError)
  {
    try write { database in
      let drop = try database.makeStatement(
        sql:
          "DELETE FROM quarantine WHERE number = ? AND state = 'intended' AND copied IS NULL")
      let close = try database.makeStatement(
        sql: """
          UPDATE quarantine SET state = 'abandoned', note = ?, closed = ?
          WHERE number = ? AND state IN ('intended', 'copied')
          """)
      for message in messages {
        try drop.execute(arguments: [message.id])
        try close.execute(arguments: [note, now.column, message.id])
      }
    }
  }

  /// The entries have left the queue: rows that were `marked` become `gone`; others (released meanwhile) only bear the time.
  public func recordGone(_ messages: [QuarantineRecord], at now: Timestamp) throws(LedgerError) {
    try write { database in
      let statement = try database.makeStatement(
        sql: """
          UPDATE quarantine SET gone = ?,
            state = CASE state WHEN 'marked' THEN 'gone' ELSE state END
          WHERE number = ? AND gone IS NULL
          """)
      for message in messages { try statement.execute(arguments: [now.column, message.id]) }
    }
  }

  /// Commits that these messages are being given each to the qmail-queue of this pid: before its last byte is.
  public func intendRelease(
    _ messages: [(record: QuarantineRecord, pid: Int32)], inDoubt: Bool, at now: Timestamp
  ) throws(LedgerError) {
    try write { database in
      let statement = try database.makeStatement(
        sql: """
          UPDATE quarantine SET state = 'releasing', release_pid = ?, release_started = ?,
            release_in_doubt = ?
          WHERE number = ? AND state = ?
          """)
      for (message, pid) in messages {
        try statement.execute(
          arguments: [pid, now.column, inDoubt, message.id, message.state.rawValue])
        guard database.changesCount == 1 else {
          throw LedgerError(
            .busy, path, "message \(message.identity.id) is no longer \(message.state.rawValue)")
        }
      }
    }
  }

  /// What a release came to: recipients given back in it, 0 when qmail-queue refused it, and those that are still ours to give.
  public typealias ReleaseEnd = (record: QuarantineRecord, given: Int, left: Int)

  /// Ends releases. With recipients left in doubt a message stays in quarantine for them; else it is `released`.
  public func finishRelease(_ ends: [ReleaseEnd], at now: Timestamp) throws(LedgerError) {
    try write { database in
      let statement = try database.makeStatement(
        sql: """
          UPDATE quarantine SET released = released + ?, note = NULL,
            in_doubt = CASE WHEN ? > 0 AND ? > 0 THEN ? ELSE in_doubt END,
            state = CASE WHEN ? = 0 THEN 'released' WHEN gone IS NULL THEN 'marked' ELSE 'gone' END,
            closed = CASE WHEN ? = 0 THEN ? ELSE NULL END
          WHERE number = ? AND state IN ('releasing', 'release-in-doubt')
          """)
      for (message, given, left) in ends {
        try statement.execute(
          arguments: [given, given, left, left, left, left, now.column, message.id])
      }
    }
  }

  /// Takes up a message that the quarantine directory holds and this ledger does not know (the ledger was lost): as `copied`.
  public func adopt(
    _ identity: EntryIdentity, _ facts: QuarantineRecord.Facts, copied: Timestamp,
    expires: Timestamp, at now: Timestamp, note: String
  ) throws(LedgerError) {
    try intendQuarantine(of: [identity], incident: nil, expires: expires, at: now)
    for record in try quarantine(id: identity.id) where record.identity == identity {
      var record = record
      record.facts = facts
      try recordCopied([record], at: copied, note: note)
    }
  }

  private static let isOpen = "state NOT IN ('released', 'expired', 'abandoned')"

  /// One row at a time for a message: `?1` its number, `?2` its birth. Every writer's transaction is immediate, so nobody comes in between.
  private static let unlessInHand =
    "WHERE NOT EXISTS (SELECT 1 FROM quarantine WHERE id = ?1 AND birth = ?2 AND \(isOpen))"

  private static func list(_ states: Set<QuarantineRecord.State>) -> String {
    states.map { "'\($0.rawValue)'" }.joined(separator: ",")
  }

  private static let columns = """
    number, id, birth, incident, state, sender, size, recipients, in_doubt, subject, via, client,
    user, uid, intended, copied, marked, gone, closed, expires, note, release_pid, release_started,
    release_in_doubt, released
    """

  /// By position in ``columns``: GRDB looks names up letter by letter.
  private static func message(_ row: Row) throws -> QuarantineRecord {
    let number: Int64 = row[0]
    guard let state = State(rawValue: row[4]) else {
      throw Unreadable(what: "quarantined message \(number) in state '\(row[4] as String)'")
    }
    func time(_ column: Int) -> Timestamp? {
      (row[column] as Int64?).map(Timestamp.init(column:))
    }
    var facts = QuarantineRecord.Facts()
    facts.sender = Address([UInt8](row[5] as Data))
    facts.size = row[6]
    facts.recipients = row[7]
    facts.inDoubt = row[8]
    facts.subject = [UInt8](row[9] as Data)
    facts.source.via = row[10]
    facts.source.client = row[11]
    facts.source.user = row[12]
    facts.source.uid = (row[13] as Int64?).map { UInt32(truncatingIfNeeded: $0) }
    return QuarantineRecord(
      id: number,
      identity: EntryIdentity(
        id: UInt64(bitPattern: row[1] as Int64), birth: Timestamp(column: row[2])),
      incident: row[3], state: state, facts: facts,
      intended: Timestamp(column: row[14]), copied: time(15), marked: time(16),
      gone: time(17), closed: time(18), expires: Timestamp(column: row[19]),
      note: row[20],
      release: (row[21] as Int32?).flatMap { pid in
        time(22).map {
          QuarantineRecord.Release(pid: pid, started: $0, includedInDoubt: row[23] ?? false)
        }
      }, released: row[24])
  }
}
