import Foundation
import GRDB
import Mail
import Storms

extension Ledger {
  /// The number that the next incident gets: never one that was used before, also after old ones were forgotten.
  public func nextIncident() throws(LedgerError) -> Int {
    try read { database in
      (try Int.fetchOne(database, sql: "SELECT seq FROM sqlite_sequence WHERE name = 'incidents'")
        ?? 0) + 1
    }
  }

  /// Writes down a storm as it stands; replaces what is known of the same incident.
  public func record(_ storm: Storm) throws(LedgerError) { try record([storm]) }

  /// The same of many, in one transaction: each waits for the disk.
  public func record(_ storms: [Storm]) throws(LedgerError) {
    if storms.isEmpty { return }
    try write { database in
      for storm in storms { try Self.record(storm, database) }
    }
  }

  private static func record(_ storm: Storm, _ database: Database) throws {
    let evidence = storm.evidence
    try database.execute(
      sql: """
        INSERT INTO incidents (number, kind, began, last_seen, ended, reason, messages, recipients,
          failed, delivered, lingering, recipient_domains, senders, clients, list_marked,
          failures_proven, normal_per_minute)
        VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
        ON CONFLICT (number) DO UPDATE SET kind = excluded.kind, began = excluded.began,
          last_seen = excluded.last_seen, ended = excluded.ended, reason = excluded.reason,
          messages = excluded.messages, recipients = excluded.recipients,
          failed = excluded.failed, delivered = excluded.delivered,
          lingering = excluded.lingering, recipient_domains = excluded.recipient_domains,
          senders = excluded.senders, clients = excluded.clients,
          list_marked = excluded.list_marked, failures_proven = excluded.failures_proven,
          normal_per_minute = excluded.normal_per_minute
        """,
      arguments: [
        storm.incident, storm.kind.rawValue, storm.began.column, storm.lastSeen.column,
        storm.ended?.column, storm.reason, evidence.messages, evidence.recipients,
        evidence.failed, evidence.delivered, evidence.lingering, evidence.recipientDomains,
        evidence.senders, evidence.clients, evidence.listMarked, evidence.failuresProven,
        evidence.normalPerMinute,
      ])
    for table in ["incident_offenders", "incident_victims", "incident_samples"] {
      try database.execute(
        sql: "DELETE FROM \(table) WHERE incident = ?", arguments: [storm.incident])
    }
    for (position, offender) in storm.offenders.enumerated() {
      try database.execute(
        sql: "INSERT INTO incident_offenders VALUES (?, ?, ?, ?)",
        arguments: [storm.incident, position, offender.type, offender.bytes.blob])
    }
    for (position, victim) in storm.victims.enumerated() {
      try database.execute(
        sql: "INSERT INTO incident_victims VALUES (?, ?, ?)",
        arguments: [storm.incident, position, victim])
    }
    for (position, id) in storm.samples.enumerated() {
      try database.execute(
        sql: "INSERT INTO incident_samples VALUES (?, ?, ?)",
        arguments: [storm.incident, position, Int64(bitPattern: id)])
    }
  }

  /// A storm as it was last written down; nil when there is no incident of this number.
  public func incident(_ number: Int) throws(LedgerError) -> Storm? {
    try read { database in
      try Row.fetchOne(
        database, sql: "SELECT * FROM incidents WHERE number = ?", arguments: [number]
      ).map { try Self.storm($0, database) }
    }
  }

  /// Latest first.
  public func incidents(limit: Int = 100) throws(LedgerError) -> [Storm] {
    try read { database in
      try Row.fetchAll(
        database, sql: "SELECT * FROM incidents ORDER BY number DESC LIMIT ?", arguments: [limit]
      ).map { try Self.storm($0, database) }
    }
  }

  /// Storms that had not ended when they were last written down: what the detector resumes.
  public func openIncidents() throws(LedgerError) -> [Storm] {
    try read { database in
      try Row.fetchAll(
        database, sql: "SELECT * FROM incidents WHERE ended IS NULL ORDER BY number"
      ).map { try Self.storm($0, database) }
    }
  }

  private static func storm(_ row: Row, _ database: Database) throws -> Storm {
    let number: Int = row["number"]
    guard let kind = StormKind(rawValue: row["kind"]) else {
      throw Unreadable(what: "incident \(number) of kind '\(row["kind"] as String)'")
    }
    var evidence = Evidence()
    evidence.messages = row["messages"]
    evidence.recipients = row["recipients"]
    evidence.failed = row["failed"]
    evidence.delivered = row["delivered"]
    evidence.lingering = row["lingering"]
    evidence.recipientDomains = row["recipient_domains"]
    evidence.senders = row["senders"]
    evidence.clients = row["clients"]
    evidence.listMarked = row["list_marked"]
    evidence.failuresProven = row["failures_proven"]
    evidence.normalPerMinute = row["normal_per_minute"]
    let ended: Int64? = row["ended"]
    return Storm(
      incident: number, kind: kind, began: Timestamp(column: row["began"]),
      lastSeen: Timestamp(column: row["last_seen"]), ended: ended.map(Timestamp.init(column:)),
      offenders: try Row.fetchAll(
        database,
        sql: "SELECT type, value FROM incident_offenders WHERE incident = ? ORDER BY position",
        arguments: [number]
      ).compactMap { Offender(type: $0["type"], bytes: [UInt8]($0["value"] as Data)) },
      victims: try String.fetchAll(
        database, sql: "SELECT value FROM incident_victims WHERE incident = ? ORDER BY position",
        arguments: [number]),
      evidence: evidence,
      samples: try Int64.fetchAll(
        database, sql: "SELECT id FROM incident_samples WHERE incident = ? ORDER BY position",
        arguments: [number]
      ).map { UInt64(bitPattern: $0) },
      reason: row["reason"])
  }
}

extension Offender {
  /// The value as bytes: a sender exactly, the others as UTF-8.
  var bytes: [UInt8] {
    if case .sender(let address) = self { address.bytes } else { Array(value.utf8) }
  }

  init?(type: String, bytes: [UInt8]) {
    let text = String(decoding: bytes, as: UTF8.self)
    switch type {
    case "sender": self = .sender(Address(bytes))
    case "user": self = .user(text)
    case "client": self = .client(text)
    case "uid":
      guard let uid = UInt32(text) else { return nil }
      self = .uid(uid)
    case "sender-domain": self = .senderDomain(Domain(text))
    default: return nil
    }
  }
}

/// A row that this version cannot have written.
struct Unreadable: Error, CustomStringConvertible {
  let what: String
  var description: String { what }
}
