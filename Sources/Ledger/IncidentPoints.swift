import GRDB
import Mail

/// How the queue and a storm stood at one moment: what the timeline of an incident is drawn from.
public struct IncidentPoint: Sendable, Hashable {
  public var time: Timestamp
  /// Messages in the queue that wait, and those that only have to leave.
  public var waiting: Int
  public var leaving: Int
  /// Of the storm, since its begin. Sums, so that a point left out takes nothing from the others.
  public var messages: Int
  public var failed: Int
  public var delivered: Int
  public var setAside: Int

  public init(
    time: Timestamp, waiting: Int, leaving: Int, messages: Int = 0, failed: Int = 0,
    delivered: Int = 0, setAside: Int = 0
  ) {
    self.time = time
    self.waiting = waiting
    self.leaving = leaving
    self.messages = messages
    self.failed = failed
    self.delivered = delivered
    self.setAside = setAside
  }

  /// More points than this of one incident are thinned to about half.
  public static let most = 360

  /// Seconds from one point to the next in an incident of this age: 2, and twice as many each time the incident grows twice as old.
  public static func step(age: Double) -> Double {
    var step = 2.0
    while age / step > Double(most / 2), step < 1e9 { step *= 2 }
    return step
  }
}

extension Ledger {
  /// Adds to the timeline of an incident that has been recorded. The newest point decides how coarse the older ones become.
  public func record(_ points: [IncidentPoint], incident: Int, began: Timestamp)
    throws(LedgerError)
  {
    try record([(points, incident, began)])
  }

  /// The same of many incidents, in one transaction: each waits for the disk.
  public func record(_ timelines: [(points: [IncidentPoint], incident: Int, began: Timestamp)])
    throws(LedgerError)
  {
    if timelines.isEmpty { return }
    try write { database in
      for (points, incident, began) in timelines {
        try Self.record(points, incident, began, database)
      }
    }
  }

  private static func record(
    _ points: [IncidentPoint], _ incident: Int, _ began: Timestamp, _ database: Database
  ) throws {
    guard let last = points.last else { return }
    for point in points {
      try database.execute(
        sql: "INSERT OR REPLACE INTO incident_points VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        arguments: [
          incident, point.time.column, point.waiting, point.leaving, point.messages,
          point.failed, point.delivered, point.setAside,
        ])
    }
    let count =
      try Int.fetchOne(
        database, sql: "SELECT count(*) FROM incident_points WHERE incident = ?",
        arguments: [incident]) ?? 0
    guard count > IncidentPoint.most else { return }
    // Of each step the latest stays: it has the sums.
    let step = Int64(IncidentPoint.step(age: last.time.seconds(since: began)) * 1e9)
    try database.execute(
      sql: """
        DELETE FROM incident_points WHERE incident = ?1 AND time NOT IN
          (SELECT max(time) FROM incident_points WHERE incident = ?1 GROUP BY (time - ?2) / ?3)
        """,
      arguments: [incident, began.column, step])
  }

  /// The timeline of an incident, oldest first; empty for one of before there were timelines.
  public func points(incident: Int) throws(LedgerError) -> [IncidentPoint] {
    try read { database in
      try Row.fetchAll(
        database, sql: "SELECT * FROM incident_points WHERE incident = ? ORDER BY time",
        arguments: [incident]
      ).map { row in
        IncidentPoint(
          time: Timestamp(column: row["time"]), waiting: row["waiting"], leaving: row["leaving"],
          messages: row["messages"], failed: row["failed"], delivered: row["delivered"],
          setAside: row["set_aside"])
      }
    }
  }
}
