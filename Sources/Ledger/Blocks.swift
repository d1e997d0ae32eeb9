import Foundation
import GRDB
import Mail

/// A badmailfrom line that qwarden owns, or owned.
public struct Block: Sendable, Hashable, Identifiable {
  /// `intended` and `leaving` are the write-ahead halves: what badmailfrom is to become; the file decides.
  public enum State: String, Sendable, Hashable, CaseIterable {
    /// To be written into badmailfrom.
    case intended
    /// In badmailfrom.
    case active
    /// To be taken out of badmailfrom.
    case leaving
    /// Out of badmailfrom.
    case removed
  }

  public enum Author: Sendable, Hashable {
    case incident(Int)
    /// An administrator, by login name or uid.
    case administrator(String)
  }

  public struct Removal: Sendable, Hashable {
    public var time: Timestamp
    public var why: String
    /// `qwarden`, or the administrator's name.
    public var by: String
    public init(time: Timestamp, why: String, by: String) {
      self.time = time
      self.why = why
      self.by = by
    }
  }

  public var id: Int64
  /// `user@host`, or `@host` for a whole domain; lower case.
  public var entry: Address
  public var author: Author
  public var reason: String
  public var created: Timestamp
  public var expires: Timestamp
  public var state: State
  public var removal: Removal?

  public var isStanding: Bool { state == .intended || state == .active }
}

extension Ledger {
  /// Commits the intent to block `entry`. An entry that is blocked already keeps its reason and gets the later expiry.
  @discardableResult
  public func intendBlock(
    _ entry: Address, author: Block.Author, reason: String, expires: Timestamp, at now: Timestamp
  ) throws(LedgerError) -> Block {
    let entry = entry.lowercased
    return try write { database in
      var incident: Int?
      var name: String?
      switch author {
      case .incident(let number): incident = number
      case .administrator(let who): name = who
      }
      try database.execute(
        sql: """
          INSERT INTO blocks (entry, incident, author, reason, created, expires, state)
          VALUES (?, ?, ?, ?, ?, ?, 'intended')
          ON CONFLICT (entry) WHERE state IN ('intended', 'active')
          DO UPDATE SET expires = max(expires, excluded.expires)
          """,
        arguments: [entry.bytes.blob, incident, name, reason, now.column, expires.column])
      let row = try Row.fetchOne(
        database,
        sql: "SELECT * FROM blocks WHERE entry = ? AND state IN ('intended', 'active')",
        arguments: [entry.bytes.blob])
      guard let row else { throw Unreadable(what: "a block that was just written is not there") }
      return try Self.block(row)
    }
  }

  /// Blocks in any of `states`, oldest first.
  public func blocks(_ states: Set<Block.State>) throws(LedgerError) -> [Block] {
    try read { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT * FROM blocks WHERE state IN (\(states.map { "'\($0.rawValue)'" }.joined(separator: ",")))
          ORDER BY number
          """
      ).map(Self.block)
    }
  }

  /// What badmailfrom is to hold: `intended` and `active`.
  public func standingBlocks() throws(LedgerError) -> [Block] { try blocks([.intended, .active]) }

  /// Blocks that storms have caused after `moment`, whatever became of them: for the cap on blocks an hour.
  public func blocksCreated(since moment: Timestamp) throws(LedgerError) -> Int {
    try read { database in
      try Int.fetchOne(
        database,
        sql: "SELECT count(*) FROM blocks WHERE created > ? AND incident IS NOT NULL",
        arguments: [moment.column]) ?? 0
    }
  }

  /// How often `entry` was blocked before and ran its time: repeats last longer. Blocks that an administrator took back do not count.
  public func earlierBlocks(of entry: Address) throws(LedgerError) -> Int {
    try read { database in
      try Int.fetchOne(
        database,
        sql: """
          SELECT count(*) FROM blocks
          WHERE entry = ? AND state IN ('leaving', 'removed') AND removed_by = 'qwarden'
          """,
        arguments: [entry.lowercased.bytes.blob]) ?? 0
    }
  }

  /// Commits that standing blocks are to leave badmailfrom. With `grace`, the entry is left alone until then.
  /// - Returns: the blocks that now are `leaving`; an entry that is not blocked is passed over.
  @discardableResult
  public func intendRemoval(
    of blocks: [Block], why: String, by: String, at now: Timestamp, graceUntil: Timestamp? = nil
  ) throws(LedgerError) -> [Block] {
    try write { database in
      var leaving: [Block] = []
      for block in blocks {
        try database.execute(
          sql: """
            UPDATE blocks SET state = 'leaving', removed = ?, removed_why = ?, removed_by = ?
            WHERE number = ? AND state IN ('intended', 'active')
            """,
          arguments: [now.column, why, by, block.id])
        guard database.changesCount == 1 else { continue }
        if let graceUntil {
          try database.execute(
            sql: "INSERT OR REPLACE INTO graces VALUES (?, ?, ?)",
            arguments: [block.entry.bytes.blob, graceUntil.column, by])
        }
        var block = block
        block.state = .leaving
        block.removal = Block.Removal(time: now, why: why, by: by)
        leaving.append(block)
      }
      return leaving
    }
  }

  /// Commits that badmailfrom now holds exactly `standing`: those become active, and `left` removed.
  public func settleBlocks(standing: [Block], left: [Block]) throws(LedgerError) {
    try write { database in
      for block in standing where block.state == .intended {
        try database.execute(
          sql: "UPDATE blocks SET state = 'active' WHERE number = ? AND state = 'intended'",
          arguments: [block.id])
      }
      for block in left {
        try database.execute(
          sql: "UPDATE blocks SET state = 'removed' WHERE number = ? AND state = 'leaving'",
          arguments: [block.id])
      }
    }
  }

  /// Until when an administrator wants `entry` left alone.
  public func grace(of entry: Address, at now: Timestamp) throws(LedgerError) -> Timestamp? {
    try read { database in
      try Int64.fetchOne(
        database, sql: "SELECT until FROM graces WHERE entry = ? AND until > ?",
        arguments: [entry.lowercased.bytes.blob, now.column]
      ).map(Timestamp.init(column:))
    }
  }

  /// Forgets a grace: an administrator blocks the entry by hand after all.
  public func forgetGrace(of entry: Address) throws(LedgerError) {
    try write { database in
      try database.execute(
        sql: "DELETE FROM graces WHERE entry = ?", arguments: [entry.lowercased.bytes.blob])
    }
  }

  private static func block(_ row: Row) throws -> Block {
    let number: Int64 = row["number"]
    guard let state = Block.State(rawValue: row["state"]) else {
      throw Unreadable(what: "block \(number) in state '\(row["state"] as String)'")
    }
    let incident: Int? = row["incident"]
    let removed: Int64? = row["removed"]
    return Block(
      id: number, entry: Address([UInt8](row["entry"] as Data)),
      author: incident.map { .incident($0) } ?? .administrator(row["author"] ?? ""),
      reason: row["reason"], created: Timestamp(column: row["created"]),
      expires: Timestamp(column: row["expires"]), state: state,
      removal: removed.map {
        Block.Removal(
          time: Timestamp(column: $0), why: row["removed_why"] ?? "", by: row["removed_by"] ?? "")
      })
  }
}
