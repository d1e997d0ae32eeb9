import Foundation
import GRDB
import Mail

/// What was done or held, and why. Alike actions of one incident are one record with a count: a storm of 100,000 messages
/// held in observe mode is one row.
public struct ActionRecord: Sendable, Hashable {
  public enum Outcome: String, Sendable, Hashable {
    case done, held
  }

  public var incident: Int?
  /// `alert`, `block`, `unblock`, `quarantine`, `delete`, `release`, `expire`.
  public var action: String
  /// The address blocked or unblocked; empty for messages.
  public var value: [UInt8]
  public var outcome: Outcome
  public var why: String
  public var first: Timestamp
  public var last: Timestamp
  public var times: Int

  public init(
    incident: Int?, action: String, value: [UInt8] = [], outcome: Outcome, why: String,
    at time: Timestamp, times: Int = 1
  ) {
    self.incident = incident
    self.action = action
    self.value = value
    self.outcome = outcome
    self.why = why
    first = time
    last = time
    self.times = times
  }
}

extension Ledger {
  /// Adds to the history, in one transaction.
  public func record(_ actions: [ActionRecord]) throws(LedgerError) {
    if actions.isEmpty { return }
    try write { database in
      for action in actions {
        try database.execute(
          sql: """
            INSERT INTO actions (incident, action, value, outcome, why, first, last, times)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?)
            ON CONFLICT (ifnull(incident, 0), action, value, outcome, why)
            DO UPDATE SET last = excluded.last, times = times + excluded.times
            """,
          arguments: [
            action.incident, action.action, action.value.blob, action.outcome.rawValue, action.why,
            action.first.column, action.last.column, action.times,
          ])
      }
    }
  }

  /// The history of one incident, or of everything, latest first.
  public func actions(incident: Int? = nil, limit: Int = 100) throws(LedgerError)
    -> [ActionRecord]
  {
    try read { database in
      try Row.fetchAll(
        database,
        sql: """
          SELECT * FROM actions \(incident == nil ? "" : "WHERE incident = ?")
          ORDER BY last DESC, number DESC LIMIT ?
          """,
        arguments: incident.map { [$0, limit] } ?? [limit]
      ).map { row in
        guard let outcome = ActionRecord.Outcome(rawValue: row["outcome"]) else {
          throw Unreadable(what: "an action with outcome '\(row["outcome"] as String)'")
        }
        var record = ActionRecord(
          incident: row["incident"], action: row["action"],
          value: [UInt8](row["value"] as Data), outcome: outcome, why: row["why"],
          at: Timestamp(column: row["first"]), times: row["times"])
        record.last = Timestamp(column: row["last"])
        return record
      }
    }
  }
}
